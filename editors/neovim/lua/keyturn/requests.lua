--- Questions to the server: one at a time for each buffer, the newest wins. Hides what differs between versions of Neovim.

local M = {}

M.METHOD = 'textDocument/inlineCompletion'
M.INVOKED = 1
M.AUTOMATIC = 2

local has_methods = vim.fn.has('nvim-0.11') == 1
local pending = {} ---@type table<integer, {client: vim.lsp.Client, id: integer}>
local originals = setmetatable({}, { __mode = 'k' }) ---@type table<vim.lsp.Client, function>

--- Keep a client's own way of asking, which native.lua replaces.
---@param client vim.lsp.Client
---@return function
function M.keep_original(client)
  originals[client] = originals[client] or client.request
  return originals[client]
end

--- Ask anything.
---@param client vim.lsp.Client
---@param method string
---@param params table
---@param handler fun(err?: table, result: any)
---@param buf integer
---@return boolean ok, integer? id
function M.raw(client, method, params, handler, buf)
  local request = originals[client] or client.request
  if has_methods then
    return request(client, method, params, handler, buf)
  end
  return request(method, params, handler, buf)
end

--- Tell a client something.
---@param client vim.lsp.Client
---@param method string
---@param params table
function M.notify(client, method, params)
  if has_methods then
    client:notify(method, params)
  else
    client.notify(method, params)
  end
end

--- End a client's server.
---@param client vim.lsp.Client
---@param force boolean
function M.stop(client, force)
  if has_methods then
    client:stop(force)
  else
    client.stop(force)
  end
end

--- Withdraw what is asked for a buffer. Its answer is not heard any more.
---@param buf integer
function M.cancel(buf)
  local asked = pending[buf]
  pending[buf] = nil
  if not asked then
    return
  end
  if has_methods then
    asked.client:cancel_request(asked.id)
  else
    asked.client.cancel_request(asked.id)
  end
end

--- Ask for suggestions at the caret of the current window.
---@param client vim.lsp.Client
---@param buf integer
---@param kind integer M.INVOKED or M.AUTOMATIC
---@param on_answer fun(items: lsp.InlineCompletionItem[])
function M.ask(client, buf, kind, on_answer)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = kind }
  return M.send(client, buf, params, on_answer)
end

--- Ask for suggestions with these parameters, in place of what was asked before.
---@param client vim.lsp.Client
---@param buf integer
---@param params table
---@param on_answer fun(items: lsp.InlineCompletionItem[])
---@return boolean ok, integer? id
function M.send(client, buf, params, on_answer)
  M.cancel(buf)
  local asked = { client = client } ---@type {client: vim.lsp.Client, id: integer}
  local function hear(err, result)
    if pending[buf] ~= asked then
      return
    end
    pending[buf] = nil
    -- Null says that the text has changed since; the change has asked again.
    if not err and type(result) == 'table' then
      on_answer(result.items or result)
    end
  end
  local ok, id = M.raw(client, M.METHOD, params, hear, buf)
  if ok then
    asked.id = assert(id)
    pending[buf] = asked
  end
  return ok, id
end

--- The byte column of a position on a line.
---@param line string
---@param character integer
---@param encoding string
---@return integer
function M.to_byte(line, character, encoding)
  if encoding == 'utf-8' then
    return math.min(character, #line)
  end
  if has_methods then
    return vim.str_byteindex(line, encoding, character, false)
  end
  local _, utf16_length = vim.str_utfindex(line)
  return vim.str_byteindex(line, math.min(character, utf16_length), encoding == 'utf-16')
end

return M
