--- `:checkhealth keyturn`.

local keys = require('keyturn.keys')
local server = require('keyturn.server')
local status = require('keyturn.status')

local health = vim.health

local M = {}

local ACTIONS = { 'accept', 'accept_word', 'accept_line', 'next', 'prev', 'dismiss' }

local function check_neovim()
  local version = tostring(vim.version())
  if vim.fn.has('nvim-0.12') == 1 then
    health.ok(('Neovim %s shows suggestions itself'):format(version))
  elseif vim.fn.has('nvim-0.10') == 1 then
    health.ok(('Neovim %s; suggestions are shown by the plugin'):format(version))
  else
    health.error(('Neovim %s is too old'):format(version), 'Install Neovim 0.10 or newer.')
  end
end

---@param cmd string[]
---@return string[]
local function version_command(cmd)
  local words = vim.deepcopy(cmd)
  if words[#words] == 'serve' then
    words[#words] = '--version'
  else
    words[#words + 1] = '--version'
  end
  return words
end

---@param options? keyturn.Options
local function check_server(options)
  local found, problem
  local is_done = false
  server.find(options and options.cmd, function(cmd, what)
    found, problem, is_done = cmd, what, true
  end)
  vim.wait(15000, function()
    return is_done
  end, 20)
  if not found then
    health.error(problem or 'the server was not found in time', {
      ('Install the server: `%s`'):format(server.install_command()),
      "or say where it is: `require('keyturn').setup{ cmd = { '/path/to/keyturn', 'serve' } }`",
    })
    return
  end
  health.ok(('server: `%s`'):format(table.concat(found, ' ')))
  local ran, process = pcall(vim.system, version_command(found), { text = true, timeout = 15000 })
  local done = ran and process:wait()
  local version = done and done.code == 0 and vim.trim(done.stdout or '')
  if version and vim.startswith(version, 'keyturn ') then
    health.ok(('its version: %s'):format(version))
  else
    local said = done and vim.trim(done.stderr or '') or tostring(process)
    health.error(('it does not tell its version: %s'):format(said), 'Run the command above in a terminal.')
  end
end

local function check_clients()
  local clients = server.clients()
  if #clients == 0 then
    health.info('No server runs. It starts with the first file that has a file type.')
  end
  for _, client in ipairs(clients) do
    local num_buffers = vim.tbl_count(client.attached_buffers)
    local root = client.config.root_dir or 'no project'
    health.ok(('attached to %d buffer(s) of %s'):format(num_buffers, root))
    local sentence = status.long(client.id, require('keyturn').is_enabled())
    local said = status.of(client.id)
    if said and said.state == 'error' then
      health.error(sentence, '`:Keyturn log` tells more.')
    else
      health.info('status: ' .. sentence)
    end
  end
end

local function check_keys()
  for _, action in ipairs(ACTIONS) do
    local lhs = keys.of(action)
    local mapping = lhs and vim.fn.maparg(lhs, 'i', false, true)
    if not mapping then
      health.info(('%s: no key'):format(action))
    elseif vim.startswith(mapping.desc or '', 'keyturn:') then
      health.ok(('%s: %s'):format(action, lhs))
    else
      health.warn(('%s: %s was mapped to something else after setup()'):format(action, lhs), {
        'Call setup() after that mapping; without a suggestion the key still does what it did before.',
      })
    end
  end
end

function M.check()
  health.start('keyturn: Neovim')
  check_neovim()
  local options = require('keyturn').options()
  health.start('keyturn: server')
  check_server(options)
  if not options then
    health.warn('setup() was not called', "Put `require('keyturn').setup{}` into your configuration.")
    return
  end
  check_clients()
  health.start('keyturn: keys')
  check_keys()
end

return M
