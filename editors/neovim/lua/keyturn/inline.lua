--- Suggestions where Neovim does not show them itself (0.10 and 0.11): asks after a pause, draws with an extmark.

local ghost = require('keyturn.ghost')
local requests = require('keyturn.requests')

local api = vim.api

local M = {}

local DEBOUNCE_MS = 75
local namespace = api.nvim_create_namespace('keyturn')
local timer = assert(vim.uv.new_timer())

--- Virtual text shows a tab as one cell.
---@param text string
local function expand_tabs(buf, text)
  return (text:gsub('\t', (' '):rep(vim.bo[buf].tabstop)))
end

---@param _ vim.lsp.Client
function M.show(_, buf, text, row, col)
  M.hide(_, buf)
  local lines = {} ---@type [string, string][][]
  for line in vim.gsplit(expand_tabs(buf, text), '\n', { plain = true }) do
    lines[#lines + 1] = { { line, 'KeyturnSuggestion' } }
  end
  api.nvim_buf_set_extmark(buf, namespace, row, col, {
    virt_text = lines[1],
    virt_text_pos = 'inline',
    virt_lines = vim.list_slice(lines, 2),
    hl_mode = 'combine',
  })
end

---@param _ vim.lsp.Client
function M.hide(_, buf)
  if api.nvim_buf_is_valid(buf) then
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

---@param _ vim.lsp.Client
function M.on_init(_)
  api.nvim_set_hl(0, 'KeyturnSuggestion', { link = 'NonText', default = true })
end

---@param _ vim.lsp.Client
---@param _buf integer
function M.on_attach(_, _buf) end

---@param _buf integer
function M.on_detach(_buf)
  timer:stop()
end

--- Ask once the typing pauses.
---@param client vim.lsp.Client
---@param buf integer
---@param is_left boolean whether a suggestion that fits is shown: typing along it needs no new one
function M.on_change(client, buf, is_left)
  requests.cancel(buf)
  timer:stop()
  if is_left then
    return
  end
  timer:start(DEBOUNCE_MS, 0, function()
    vim.schedule(function()
      local is_here = api.nvim_get_current_buf() == buf and api.nvim_get_mode().mode:sub(1, 1) == 'i'
      if is_here and client.attached_buffers[buf] then
        requests.ask(client, buf, requests.AUTOMATIC, function(items)
          ghost.offer(client, buf, items)
        end)
      end
    end)
  end)
end

return M
