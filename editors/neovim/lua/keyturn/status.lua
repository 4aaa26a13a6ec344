--- What each server last said of itself (`keyturn/status`), in words for people.

local M = {}

---@class keyturn.Status
---@field state 'waiting'|'loading'|'ready'|'error'
---@field message? string
---@field percent? integer
---@field model? string
---@field engine? string
---@field last_ms? number

local statuses = {} ---@type table<integer, keyturn.Status> by client
local ended ---@type string? why there is no server, when there should be one
local not_found ---@type string? what `:Keyturn status` says where no server can be started

local function plain(value)
  return value ~= vim.NIL and value or nil
end

--- Handler of the notification.
function M.on_status(_, result, ctx)
  local status = {}
  for name, value in pairs(result) do
    status[name] = plain(value)
  end
  statuses[ctx.client_id] = status
  ended = nil
  vim.cmd.redrawstatus()
end

--- A server has ended.
---@param client_id integer
---@param reason? string what to show while there is none
function M.on_exit(client_id, reason)
  statuses[client_id] = nil
  ended = reason
  vim.cmd.redrawstatus()
end

--- There is no server to start.
---@param problem string a sentence
function M.missing(problem)
  not_found = problem
end

---@param client_id? integer
---@return keyturn.Status?
function M.of(client_id)
  return client_id and statuses[client_id] or nil
end

--- A few characters for the statusline.
---@param client_id? integer of the buffer's client
---@param is_enabled boolean
---@return string
function M.short(client_id, is_enabled)
  local status = M.of(client_id)
  if not is_enabled then
    return 'keyturn: paused'
  elseif ended then
    return 'keyturn: ' .. ended
  elseif not client_id then
    return ''
  elseif not status or status.state == 'waiting' then
    return status and status.message and 'keyturn: off' or 'keyturn: starting'
  elseif status.state == 'loading' then
    return status.percent and ('keyturn: loading %d%%'):format(status.percent) or 'keyturn: loading'
  elseif status.state == 'error' then
    return 'keyturn: error'
  elseif status.message and status.message ~= '' then
    return 'keyturn: off here'
  end
  return status.last_ms and ('keyturn: %d ms'):format(math.floor(status.last_ms + 0.5)) or 'keyturn: ready'
end

--- One sentence.
---@param client_id? integer
---@param is_enabled boolean
---@return string
function M.long(client_id, is_enabled)
  local status = M.of(client_id)
  if ended then
    return ended
  elseif not client_id then
    return not_found or 'not attached to this buffer'
  elseif not status then
    return 'starting'
  end
  local words = { status.state }
  if not is_enabled then
    words = { 'paused' }
  end
  if status.model then
    words[#words + 1] = ('model %s'):format(status.model)
  end
  if status.last_ms then
    words[#words + 1] = ('last suggestion after %.0f ms'):format(status.last_ms)
  end
  if status.message and status.message ~= '' then
    words[#words + 1] = status.message
  end
  return table.concat(words, ', ')
end

return M
