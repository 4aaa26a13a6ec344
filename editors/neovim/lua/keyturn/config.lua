--- Options of setup(), their defaults, and what is said about wrong ones.

local M = {}

---@class keyturn.Keys Each is a key in insert mode, or false.
---@field accept? string|false the whole suggestion
---@field accept_word? string|false its next word
---@field accept_line? string|false the rest of its line
---@field next? string|false the next suggestion; asks for several
---@field prev? string|false the one before
---@field dismiss? string|false hide it until the text changes

---@class keyturn.Options
---@field cmd? string[]|string how to start the server; found by itself when absent
---@field settings? table<string, any> the server's settings
---@field enabled? boolean whether suggestions are made from the start
---@field filetypes? string[] file types with suggestions; all when absent
---@field root_markers? string[] what a project's folder contains
---@field keys? keyturn.Keys

---@param kind string
local function of_type(kind)
  return function(value)
    return type(value) == kind
  end
end

local function is_key(value)
  return value == false or (type(value) == 'string' and value ~= '')
end

local CHECKS = {
  cmd = of_type('table'),
  settings = of_type('table'),
  enabled = of_type('boolean'),
  filetypes = of_type('table'),
  root_markers = of_type('table'),
  keys = of_type('table'),
}
local KEY_CHECKS = {
  accept = is_key,
  accept_word = is_key,
  accept_line = is_key,
  next = is_key,
  prev = is_key,
  dismiss = is_key,
}

---@return keyturn.Options
function M.defaults()
  return {
    settings = {},
    enabled = true,
    root_markers = { 'keyturn.toml', 'pyproject.toml', '.git' },
    keys = {
      accept = '<Tab>',
      accept_word = '<M-Right>',
      accept_line = '<M-C-Right>',
      next = '<M-]>',
      prev = '<M-[>',
      dismiss = '<C-]>',
    },
  }
end

---@param given table
---@param checks table<string, fun(value: any): boolean>
---@param prefix string
---@param bad string[] names of what is passed over, added to
---@return table what is good
local function check(given, checks, prefix, bad)
  local good = {}
  for name, value in pairs(given) do
    if checks[name] and checks[name](value) then
      good[name] = value
    else
      bad[#bad + 1] = ('`%s%s`'):format(prefix, name)
    end
  end
  return good
end

--- The defaults with the user's options over them, and one sentence about those that are passed over.
---@param given? keyturn.Options
---@return keyturn.Options
---@return string? problem
function M.merge(given)
  if given ~= nil and type(given) ~= 'table' then
    return M.defaults(), 'setup() takes a table of options; see `:help keyturn-options`.'
  end
  if given and type(given.cmd) == 'string' then
    given = vim.tbl_extend('force', given, { cmd = { vim.fn.expand(given.cmd) } })
  end
  local bad = {} ---@type string[]
  local good = check(given or {}, CHECKS, '', bad)
  if good.keys then
    good.keys = check(good.keys, KEY_CHECKS, 'keys.', bad)
  end
  local options = vim.tbl_deep_extend('force', M.defaults(), good)
  if #bad == 0 then
    return options
  end
  table.sort(bad)
  return options, ('unknown or wrong options are ignored: %s; see `:help keyturn-options`.'):format(table.concat(bad, ', '))
end

return M
