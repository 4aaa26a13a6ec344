--- Suggestions where Neovim shows them itself (0.12, vim.lsp.inline_completion).
---
--- Neovim asks 200 ms after a change and draws. Left alone it would also show and accept what was suggested before the
--- last keystrokes, until the next answer. So its questions go through here: an answer reaches it only as far as it fits
--- the text of this moment, and it hears of nothing to show as soon as what is typed goes another way.

local draw = require('keyturn.draw')
local ghost = require('keyturn.ghost')
local requests = require('keyturn.requests')

local M = {}

local namespace = vim.api.nvim_create_namespace('nvim.lsp.inline_completion')
local handlers = {} ---@type table<integer, lsp.Handler> what Neovim gave with its last question for a buffer

---@param client vim.lsp.Client
---@param buf integer
---@param items lsp.InlineCompletionItem[]
local function tell(client, buf, items)
  local handler = handlers[buf]
  if handler and client.attached_buffers[buf] and vim.api.nvim_buf_is_valid(buf) then
    handler(nil, items, { client_id = client.id, bufnr = buf, method = requests.METHOD })
  end
end

---@param client vim.lsp.Client
function M.show(client, buf, text, row, col)
  local line = vim.api.nvim_buf_get_lines(buf, row, row + 1, false)[1]
  local position = { line = row, character = vim.str_utfindex(line, client.offset_encoding, col) }
  tell(client, buf, { { insertText = text, range = { start = position, ['end'] = position } } })
  -- What the text behind the caret begins with, too, Neovim leaves out, and draws the rest behind that.
  local mark = vim.api.nvim_buf_get_extmarks(buf, namespace, 0, -1, {})[1]
  if mark and (mark[2] ~= row or mark[3] ~= col) then
    draw(buf, namespace, 'ComplHint', text, row, col)
  end
end

---@param client vim.lsp.Client
function M.hide(client, buf)
  if vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
    tell(client, buf, {})
  elseif vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
    -- Out of insert mode it hears no answers. Accepting nothing makes it forget what it has, a little later, and with
    -- it the question that it is about to ask: a key may have brought insert mode back by then.
    vim.schedule(function()
      if vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
        tell(client, buf, {})
      elseif vim.api.nvim_buf_is_valid(buf) then
        vim.lsp.inline_completion.get({
          bufnr = buf,
          on_accept = function() end,
        })
      end
    end)
  end
end

--- Take part in what the client is asked.
---@param client vim.lsp.Client
function M.on_init(client)
  local original = requests.keep_original(client)
  client.request = function(self, method, params, handler, buf)
    if method ~= requests.METHOD or not handler then
      return original(self, method, params, handler, buf)
    end
    buf = (buf == nil or buf == 0) and vim.api.nvim_get_current_buf() or buf
    handlers[buf] = handler
    return requests.send(client, buf, params, function(items)
      ghost.offer(client, buf, items)
    end)
  end
end

---@param _ vim.lsp.Client
---@param buf integer
function M.on_attach(_, buf)
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

---@param buf integer
function M.on_detach(buf)
  handlers[buf] = nil
end

--- Neovim asks by itself.
function M.on_change() end

return M
