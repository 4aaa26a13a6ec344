--- The server's life: how it is found, started, attached, and started again after a crash.

local requests = require('keyturn.requests')
local say = require('keyturn.say')
local status = require('keyturn.status')

local api = vim.api

local M = {}

M.NAME = 'keyturn'

local MAX_RESTARTS = 5
local FIRST_PAUSE_MS = 250
local SIGTERM = 15
-- A server that lived this long was not broken from the start.
local CALM_MS = 180 * 1000

---@class keyturn.Launch
---@field cmd string[]
---@field options keyturn.Options
---@field surface table

local launch ---@type keyturn.Launch? what to start; nil until a server was found
local crashes = {} ---@type integer[] when, in milliseconds
local last_end ---@type string how the last server ended
local was_told = false -- and whether it was told to, by Neovim or by whoever
local is_given_up = false
local stopped = {} ---@type table<integer, true> clients that were told to end
local group = api.nvim_create_augroup('keyturn', { clear = true })

--- What to type to install the server: from the clone that this plugin lies in, if it lies in one.
---@return string
function M.install_command()
  local here = vim.fs.dirname(debug.getinfo(1, 'S').source:sub(2))
  local clone = vim.fs.root(here, 'pyproject.toml')
  return ('python3 -m venv ~/.keyturn && ~/.keyturn/bin/pip install %s'):format(clone or '/path/to/a/clone/of/keyturn')
end

--- Where the server is.
---@param cmd? string[] what the user says
---@param on_found fun(cmd: string[]?, problem: string?)
function M.find(cmd, on_found)
  if cmd then
    if #cmd > 0 and vim.fn.executable(cmd[1]) == 1 then
      return on_found(vim.list_contains(cmd, 'serve') and cmd or vim.list_extend(vim.list_slice(cmd), { 'serve' }))
    end
    return on_found(nil, ('`cmd` cannot be run: %s.'):format(table.concat(cmd, ' ')))
  end
  for _, name in ipairs({ 'keyturn', vim.fn.expand('~/.keyturn/bin/keyturn') }) do
    if vim.fn.executable(name) == 1 then
      return on_found({ vim.fn.exepath(name), 'serve' })
    end
  end
  local problem = ('the server is not installed. Install it with `%s`.'):format(M.install_command())
  if vim.fn.executable('python3') == 0 then
    return on_found(nil, problem)
  end
  -- A module called lsp could be anybody's; only ours gives its name. What lies in the folder is not asked (-P).
  vim.system({ 'python3', '-P', '-m', 'lsp.cli', '--version' }, { text = true, timeout = 10000 }, function(done)
    vim.schedule(function()
      if done.code == 0 and vim.startswith(done.stdout or '', 'keyturn ') then
        on_found({ 'python3', '-P', '-m', 'lsp.cli', 'serve' })
      else
        on_found(nil, problem)
      end
    end)
  end)
end

---@param settings table
local function section(settings)
  return { keyturn = vim.tbl_isempty(settings) and vim.empty_dict() or settings }
end

--- Start one server. Neovim hears of an orderly end only: it would have a message at each crash, this module has one
--- at the last.
---@param dispatchers vim.lsp.rpc.Dispatchers
---@return vim.lsp.rpc.PublicClient
local function spawn(dispatchers)
  local neovims_own = dispatchers.on_exit
  local heard = vim.tbl_extend('force', dispatchers, {
    on_exit = function(code, signal)
      last_end = signal ~= 0 and ('signal %d'):format(signal) or ('exit status %d'):format(code)
      was_told = code == 0 and (signal == 0 or signal == SIGTERM)
      neovims_own(0, 0)
    end,
  })
  return vim.lsp.rpc.start(launch.cmd, heard)
end

local function on_exit(_, _, client_id)
  local ended_well = was_told
  vim.schedule(function()
    if vim.v.exiting ~= vim.NIL then
      return
    end
    if stopped[client_id] or ended_well then
      stopped[client_id] = nil
      status.on_exit(client_id)
      return
    end
    M.on_crash(client_id)
  end)
end

--- Whether suggestions are for the buffer: one without a name has none that the server could tell it by.
---@param buf integer
---@return boolean
local function is_served(buf)
  local filetypes, filetype = launch.options.filetypes, vim.bo[buf].filetype
  if is_given_up or vim.bo[buf].buftype ~= '' or filetype == '' or api.nvim_buf_get_name(buf) == '' then
    return false
  end
  return not filetypes or vim.list_contains(filetypes, filetype)
end

---@return vim.lsp.ClientConfig
local function client_config()
  local options, surface = launch.options, launch.surface
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  local experimental = { keyturnStatus = true, keyturnSnippets = true }
  capabilities.experimental = vim.tbl_extend('force', capabilities.experimental or {}, experimental)
  capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  return {
    name = M.NAME,
    cmd = spawn,
    capabilities = capabilities,
    settings = section(options.settings),
    init_options = section(options.settings),
    filetypes = options.filetypes,
    root_dir = function(buf, on_dir)
      if is_served(buf) then
        on_dir(vim.fs.root(buf, options.root_markers))
      end
    end,
    -- The server reads ahead while one types, if it hears of it; Neovim alone would wait 150 ms before telling.
    flags = { debounce_text_changes = 0 },
    handlers = {
      ['keyturn/status'] = status.on_status,
      ['window/showMessage'] = function(_, result)
        local levels = { vim.log.levels.ERROR, vim.log.levels.WARN, vim.log.levels.INFO }
        -- The server's messages name it already.
        vim.notify(result.message, levels[result.type] or vim.log.levels.INFO)
        return vim.NIL
      end,
    },
    on_init = surface.on_init,
    on_attach = surface.on_attach,
    on_exit = on_exit,
  }
end

---@param buf integer
local function start_for(buf)
  if not is_served(buf) then
    return
  end
  local config = client_config()
  config.filetypes = nil
  config.root_dir = vim.fs.root(buf, launch.options.root_markers)
  vim.lsp.start(config, {
    bufnr = buf,
    -- Left to itself it starts one for each file that has no project.
    reuse_client = function(client, wanted)
      return client.name == M.NAME and client.config.root_dir == wanted.root_dir
    end,
  })
end

local function start_all()
  is_given_up = false
  if vim.fn.has('nvim-0.12') == 1 then
    vim.lsp.config(M.NAME, client_config())
    vim.lsp.enable(M.NAME)
    return
  end
  api.nvim_clear_autocmds({ group = group })
  api.nvim_create_autocmd('FileType', {
    group = group,
    callback = function(event)
      start_for(event.buf)
    end,
  })
  for _, buf in ipairs(api.nvim_list_bufs()) do
    if api.nvim_buf_is_loaded(buf) then
      start_for(buf)
    end
  end
end

--- Start servers for the buffers there are and for those to come.
---@param options keyturn.Options
---@param surface table
function M.start(options, surface)
  M.find(options.cmd, function(cmd, problem)
    if cmd then
      launch = { cmd = cmd, options = options, surface = surface }
      start_all()
    else
      status.missing(problem)
      say.warn(problem .. ' `:checkhealth keyturn` tells more.')
    end
  end)
end

---@return vim.lsp.Client[]
function M.clients()
  return vim.lsp.get_clients({ name = M.NAME })
end

---@param buf integer
---@return vim.lsp.Client?
function M.client_of(buf)
  return vim.lsp.get_clients({ name = M.NAME, bufnr = buf })[1]
end

--- Attach every buffer anew once no server is left.
local function start_when_gone(tries)
  if #M.clients() == 0 then
    start_all()
  elseif tries > 0 then
    vim.defer_fn(function()
      start_when_gone(tries - 1)
    end, 50)
  else
    say.warn('the server does not end; try `:Keyturn restart` again.')
  end
end

--- End the servers and start them again.
function M.restart()
  crashes = {}
  if not launch then
    say.warn('there is no server to restart; see `:checkhealth keyturn`.')
    return
  end
  for _, client in ipairs(M.clients()) do
    stopped[client.id] = true
    requests.stop(client, true)
  end
  start_when_gone(200)
end

--- A server has ended by itself: start it again, later each time, and give up after some times.
---@param client_id integer
function M.on_crash(client_id)
  local now = vim.uv.now()
  crashes = vim.tbl_filter(function(time)
    return now - time < CALM_MS
  end, crashes)
  crashes[#crashes + 1] = now
  if #crashes > MAX_RESTARTS then
    is_given_up = true
    status.on_exit(client_id, 'stopped')
    local message = 'the server ended %d times (%s); `:Keyturn log` tells why, `:Keyturn restart` tries again.'
    say.say(message:format(#crashes, last_end), vim.log.levels.ERROR)
    return
  end
  status.on_exit(client_id, 'restarting')
  vim.defer_fn(start_all, FIRST_PAUSE_MS * 2 ^ (#crashes - 1))
end

--- Tell the settings, which have changed, to the running servers and to those to come.
function M.configure()
  if not launch then
    return
  end
  local settings = section(launch.options.settings)
  if vim.fn.has('nvim-0.12') == 1 then
    vim.lsp.config(M.NAME, client_config())
  end
  for _, client in ipairs(M.clients()) do
    client.settings = settings
    requests.notify(client, 'workspace/didChangeConfiguration', { settings = settings })
  end
end

return M
