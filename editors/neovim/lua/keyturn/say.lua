--- Messages to the user. Each starts with the name, so that one knows who speaks.

local M = {}

---@param message string
---@param level? integer one of vim.log.levels
function M.say(message, level)
  vim.schedule(function()
    vim.notify('keyturn: ' .. message, level or vim.log.levels.INFO)
  end)
end

---@param message string
function M.warn(message)
  M.say(message, vim.log.levels.WARN)
end

return M
