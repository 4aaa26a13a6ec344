--- Suggestions where Neovim does not show them itself (0.10 and 0.11): asks after a pause, draws with an extmark.

local draw = require('keyturn.draw')
local ghost = require('keyturn.ghost')
local requests = require('keyturn.requests')

local api = vim.api

local M = {}

local DEBOUNCE_MS = 75
local namespace = api.nvim_create_namespace('keyturn')
local timer = assert(vim.uv.new_timer())

---@param _ vim.lsp.Client
function M.show(_, buf, text, row, col)
  draw(buf, namespace, 'KeyturnSuggestion', text, row, col)
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
