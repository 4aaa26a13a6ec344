-- Looks at the drawn suggestion each time the editor waits for a key, and writes down each that is wrong.
--
-- The script answers a letter with ANSWERS: whatever is drawn must stand at the cursor, in insert mode, and be a
-- letter's answer, or the rest of one whose beginning was typed.

local probe = dofile(vim.fs.dirname(debug.getinfo(1, 'S').source:sub(2)) .. '/probe.lua')

local ANSWERS = { a = 'bcd_a', b = 'cda_b', c = 'dab_c', d = 'abc_d' }

keyturn_watch = { num_drawn = 0, wrong = {} }

local function is_right(before, drawn)
  for letter, answer in pairs(ANSWERS) do
    for num_typed = 0, #answer - 1 do
      local told = letter .. answer:sub(1, num_typed)
      -- What stands behind the cursor already is cut off an answer.
      if vim.endswith(before, told) and vim.startswith(answer:sub(num_typed + 1), drawn) then
        return true
      end
    end
  end
  return false
end

local function look()
  local drawn = probe.ghost()
  if drawn == '' then
    return
  end
  keyturn_watch.num_drawn = keyturn_watch.num_drawn + 1
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local before = vim.api.nvim_get_current_line():sub(1, col)
  local mark_row, mark_col = probe.ghost_position()
  local mode = vim.api.nvim_get_mode().mode
  if mode:sub(1, 1) ~= 'i' or mark_row ~= row - 1 or mark_col ~= col or not is_right(before, drawn) then
    local place = ('%s %d:%d, drawn at %d:%d'):format(mode, row - 1, col, mark_row, mark_col)
    table.insert(keyturn_watch.wrong, ('%s: %q behind %q'):format(place, drawn, before))
  end
end

vim.api.nvim_create_autocmd('SafeState', { callback = look })
