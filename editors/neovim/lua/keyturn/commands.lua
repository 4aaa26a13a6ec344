--- `:Keyturn` and what comes after it.

local requests = require('keyturn.requests')
local say = require('keyturn.say')
local server = require('keyturn.server')
local status = require('keyturn.status')

local M = {}

local function here()
  return vim.api.nvim_get_current_buf()
end

local function client_id_here()
  local client = server.client_of(here())
  return client and client.id
end

local function say_status()
  say.say(status.long(client_id_here(), require('keyturn').is_enabled()))
end

---@return string?
local function log_file()
  local client = server.client_of(here())
  local own = client and vim.tbl_get(client.settings, 'keyturn', 'log_file')
  if own then
    return own
  end
  -- Neovim writes down what a server says on standard error.
  return vim.lsp.log and vim.lsp.log.get_filename and vim.lsp.log.get_filename() or vim.lsp.get_log_path()
end

---@param stats table
local function in_words(stats)
  local words = { ('%d requests, %d shown, %d accepted'):format(stats.requests, stats.shown, stats.accepted) }
  local tokens, timings = stats.counts, stats.timings_ms
  if type(tokens) == 'table' and type(timings) == 'table' then
    words[#words + 1] = ('the last: %d tokens kept, %d encoded, %d generated, %.0f ms'):format(
      tokens.kept,
      tokens.encoded,
      tokens.generated,
      timings.total
    )
  end
  if type(stats.cache_bytes) == 'number' then
    words[#words + 1] = ('cache %.1f MB'):format(stats.cache_bytes / 1e6)
  end
  return table.concat(words, '; ')
end

local function say_stats()
  local client = server.client_of(here())
  if not client then
    return say_status()
  end
  local params = { uri = vim.uri_from_bufnr(here()) }
  requests.raw(client, 'keyturn/stats', params, function(err, stats)
    say.say(err and err.message or in_words(stats))
  end, here())
end

local subcommands = {
  status = say_status,
  stats = say_stats,
  restart = server.restart,
  log = function()
    vim.cmd.tabedit(vim.fn.fnameescape(log_file()))
  end,
  enable = function()
    require('keyturn').enable()
  end,
  disable = function()
    require('keyturn').disable()
  end,
  toggle = function()
    require('keyturn').toggle()
    say.say(require('keyturn').is_enabled() and 'on' or 'off')
  end,
}

---@param lead string
---@return string[]
local function names_with(lead)
  local names = vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, vim.tbl_keys(subcommands))
  table.sort(names)
  return names
end

---@param name string `status` when empty
local function run(name)
  local subcommand = subcommands[name == '' and 'status' or vim.trim(name)]
  if subcommand then
    subcommand()
  else
    say.warn(('there is no `:Keyturn %s`; there are %s.'):format(name, table.concat(names_with(''), ', ')))
  end
end

--- Make the command.
function M.create()
  vim.api.nvim_create_user_command('Keyturn', function(call)
    run(call.args)
  end, { nargs = '?', desc = 'keyturn: state, on and off, restart, log', complete = names_with })
end

return M
