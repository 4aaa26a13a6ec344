--- The keys. A key that has nothing to do does what it did before setup().

local M = {}

local mapped = {} ---@type table<string, string> action to the key it has now

---@param lhs string
local function global_mapping(lhs)
  local raw = vim.api.nvim_replace_termcodes(lhs, true, true, true)
  for _, mapping in ipairs(vim.api.nvim_get_keymap('i')) do
    if mapping.lhsraw == raw or mapping.lhsrawalt == raw then
      return mapping
    end
  end
end

---@param plug string
---@param lhs string
local function keep_earlier_mapping(plug, lhs)
  local earlier = global_mapping(lhs) --[[@as table?]]
  if not earlier then
    vim.keymap.set('i', plug, lhs)
    return
  end
  earlier.lhs = plug
  earlier.lhsraw = vim.api.nvim_replace_termcodes(plug, true, true, true)
  earlier.lhsrawalt = nil
  if earlier.rhs and vim.startswith(earlier.rhs, lhs) then
    -- `:imap <Tab> <Tab>x` would come back to us and go round forever.
    earlier.noremap = 1
  end
  vim.fn.mapset('i', false, earlier)
end

--- Map one key in insert mode.
---@param action string a function of lua/keyturn/init.lua
---@param lhs string|false
---@param is_wanted fun(): boolean whether the key is ours at this moment
function M.map(action, lhs, is_wanted)
  if not lhs or mapped[action] == lhs then
    return
  end
  local plug = ('<Plug>(keyturn-without-%s)'):format(action)
  local run = ('<C-g>u<Cmd>lua require("keyturn").%s()<CR>'):format(action)
  keep_earlier_mapping(plug, lhs)
  -- An expression only chooses; what it chooses runs in its turn, before keys that were typed after it.
  vim.keymap.set('i', lhs, function()
    return is_wanted() and run or plug
  end, { expr = true, remap = true, desc = 'keyturn: ' .. action:gsub('_', ' ') })
  mapped[action] = lhs
end

--- The key that an action has.
---@param action string
---@return string?
function M.of(action)
  return mapped[action]
end

return M
