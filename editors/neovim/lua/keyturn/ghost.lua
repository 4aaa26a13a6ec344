--- The suggestion of each buffer: what is shown, what is left of it at the caret, and what the keys do with it.
---
--- Drawing is a surface's work: lua/keyturn/native.lua where Neovim shows inline completion itself, lua/keyturn/inline.lua
--- where it does not. Only what fits the text and the caret at this moment is ever shown or accepted.

local requests = require('keyturn.requests')
local suggestion = require('keyturn.suggestion')

local api = vim.api

local M = {}

---@class keyturn.Surface
---@field show fun(client: vim.lsp.Client, buf: integer, text: string, row: integer, col: integer)
---@field hide fun(client: vim.lsp.Client, buf: integer)

---@class keyturn.Item
---@field text string with bare line feeds
---@field row integer where it begins, from 0
---@field col integer in bytes
---@field command? lsp.Command to run when it was accepted
---@field snippet? string to expand when all of it is accepted at once

---@class keyturn.Ghost
---@field client vim.lsp.Client
---@field items keyturn.Item[] the first is shown
---@field after string what stood behind the caret on its line
---@field shown? string what the surface shows now

local ghosts = {} ---@type table<integer, keyturn.Ghost>
local surface ---@type keyturn.Surface

--- Which surface draws.
---@param chosen keyturn.Surface
function M.set_surface(chosen)
  surface = chosen
end

---@return integer row, integer col, string after
local function caret()
  local row, col = unpack(api.nvim_win_get_cursor(0))
  return row - 1, col, api.nvim_get_current_line():sub(col + 1)
end

---@return boolean
local function is_inserting(buf)
  return api.nvim_get_current_buf() == buf and api.nvim_get_mode().mode:sub(1, 1) == 'i'
end

---@param item keyturn.Item
---@return string?
local function rest_at(buf, item, row, col)
  if row < item.row or (row == item.row and col < item.col) or item.row >= api.nvim_buf_line_count(buf) then
    return nil
  end
  local first = api.nvim_buf_get_lines(buf, item.row, item.row + 1, false)[1]
  if item.col > #first then
    return nil
  end
  local typed = table.concat(api.nvim_buf_get_text(buf, item.row, item.col, row, col, {}), '\n')
  return suggestion.rest(item.text, typed)
end

--- What is left to accept at the caret.
---@param buf integer
---@return string? rest
---@return keyturn.Ghost?
local function current(buf)
  local ghost = ghosts[buf]
  if not ghost or not is_inserting(buf) then
    return nil
  end
  local row, col, after = caret()
  if after ~= ghost.after then
    return nil
  end
  return rest_at(buf, ghost.items[1], row, col), ghost
end

---@param client vim.lsp.Client
--- What a server means by an item. A snippet is shown as the text that it begins with.
---@param item lsp.InlineCompletionItem
---@return keyturn.Item
local function to_item(client, buf, item, row, col)
  local start = item.range and item.range.start
  if start then
    local line = api.nvim_buf_get_lines(buf, start.line, start.line + 1, false)[1] or ''
    row, col = start.line, requests.to_byte(line, start.character, client.offset_encoding)
  end
  local text, snippet = item.insertText, nil
  if type(text) == 'table' then
    snippet = text.value
    text = suggestion.plain(snippet)
  end
  return { text = text, row = row, col = col, command = item.command, snippet = snippet }
end

--- Take the server's answer: show it if it fits what stands there now, else show nothing.
---@param client vim.lsp.Client
---@param buf integer
---@param answer lsp.InlineCompletionItem[]
---@param last_text? string what comes last because it is shown already
function M.offer(client, buf, answer, last_text)
  if not is_inserting(buf) then
    return
  end
  local row, col, after = caret()
  local items, last = {}, {} ---@type keyturn.Item[], keyturn.Item[]
  for _, entry in ipairs(answer) do
    local item = to_item(client, buf, entry, row, col)
    local rest = rest_at(buf, item, row, col)
    if rest then
      table.insert(rest == last_text and last or items, item)
    end
  end
  vim.list_extend(items, last)
  M.forget(buf)
  if #items > 0 then
    ghosts[buf] = { client = client, items = items, after = after }
    M.follow(buf)
  end
end

--- The caret or the text has changed: show what is left now.
---@param buf integer
---@return boolean whether anything is left
function M.follow(buf)
  local rest, ghost = current(buf)
  if not rest or not ghost then
    M.forget(buf)
    return false
  end
  local row, col = caret()
  local place = ('%d:%d:%s'):format(row, col, rest)
  if ghost.shown ~= place then
    ghost.shown = place
    surface.show(ghost.client, buf, rest, row, col)
  end
  return true
end

--- Show nothing any more.
---@param buf integer
function M.forget(buf)
  local ghost = ghosts[buf]
  ghosts[buf] = nil
  if ghost then
    surface.hide(ghost.client, buf)
  end
end

---@param buf integer
---@return boolean
function M.is_shown(buf)
  return current(buf) ~= nil
end

---@param piece string
local function insert(buf, piece)
  local row, col = caret()
  local lines = vim.split(piece, '\n', { plain = true })
  api.nvim_buf_set_text(buf, row, col, row, col, lines)
  api.nvim_win_set_cursor(0, { row + #lines, (#lines == 1 and col or 0) + #lines[#lines] })
end

--- Put a part of the suggestion into the text.
---@param part fun(rest: string): string
---@return boolean whether there was one
function M.accept(part)
  local buf = api.nvim_get_current_buf()
  local rest, ghost = current(buf)
  if not rest or not ghost then
    return false
  end
  local piece = part(rest)
  local item = ghost.items[1]
  if item.snippet and piece == item.text then
    vim.snippet.expand(item.snippet)
  else
    insert(buf, piece)
  end
  if piece ~= rest then
    M.follow(buf)
    return true
  end
  M.forget(buf)
  local command = item.command
  if command then
    -- Counting is not worth a message when it fails.
    local params = { command = command.command, arguments = command.arguments }
    requests.raw(ghost.client, 'workspace/executeCommand', params, function() end, buf)
  end
  return true
end

--- Hide the suggestion; an answer that is under way stays hidden too.
---@return boolean whether there was one
function M.dismiss()
  local buf = api.nvim_get_current_buf()
  local was_shown = M.is_shown(buf)
  requests.cancel(buf)
  M.forget(buf)
  return was_shown
end

--- Show another suggestion. Asks for several when there is at most one.
---@param client vim.lsp.Client
---@param step 1|-1
function M.cycle(client, step)
  local buf = api.nvim_get_current_buf()
  local rest, ghost = current(buf)
  if not rest or not ghost or #ghost.items < 2 then
    requests.ask(client, buf, requests.INVOKED, function(answer)
      M.offer(client, buf, answer, rest)
    end)
    return
  end
  if step > 0 then
    table.insert(ghost.items, table.remove(ghost.items, 1))
  else
    table.insert(ghost.items, 1, table.remove(ghost.items))
  end
  if not current(buf) then
    -- What was typed meanwhile fits the one and not the other.
    table.remove(ghost.items, 1)
  end
  M.follow(buf)
end

return M
