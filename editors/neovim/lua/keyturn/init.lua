--- Ghost text by the language server keyturn. `setup()` is all that is needed; see `:help keyturn`.

local M = {}

local chosen ---@type keyturn.Options? of setup(); nil before it
local is_enabled = true

local function is_supported()
  if vim.fn.has('nvim-0.10') == 1 then
    return true
  end
  vim.notify('keyturn: Neovim 0.10 or newer is needed.', vim.log.levels.ERROR)
  return false
end

local function here()
  return vim.api.nvim_get_current_buf()
end

---@return vim.lsp.Client?
local function client_here()
  return require('keyturn.server').client_of(here())
end

--- Whether the menu of another completion has an entry selected: the keys are the menu's then.
local function menu_is_used()
  return vim.fn.pumvisible() == 1 and vim.fn.complete_info({ 'selected' }).selected ~= -1
end

---@param surface table
local function watch(surface)
  local ghost = require('keyturn.ghost')
  local group = vim.api.nvim_create_augroup('keyturn.ghost', { clear = true })
  vim.api.nvim_create_autocmd({ 'InsertEnter', 'CursorMovedI', 'TextChangedI', 'TextChangedP' }, {
    group = group,
    callback = function(event)
      local client = require('keyturn.server').client_of(event.buf)
      if client then
        surface.on_change(client, event.buf, event.event ~= 'InsertEnter' and ghost.follow(event.buf))
      end
    end,
  })
  -- CTRL-C leaves insert mode without InsertLeave.
  vim.api.nvim_create_autocmd('ModeChanged', {
    group = group,
    pattern = 'i*:[^i]*',
    callback = function(event)
      require('keyturn.requests').cancel(event.buf)
      ghost.forget(event.buf)
    end,
  })
  vim.api.nvim_create_autocmd('LspDetach', {
    group = group,
    callback = function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == 'keyturn' then
        require('keyturn.requests').cancel(event.buf)
        ghost.forget(event.buf)
        surface.on_detach(event.buf)
      end
    end,
  })
end

---@param keys keyturn.Keys
local function map(keys)
  local ghost = require('keyturn.ghost')
  local function is_shown()
    return not menu_is_used() and ghost.is_shown(here())
  end
  local function is_attached()
    return not menu_is_used() and is_enabled and client_here() ~= nil
  end
  local wanted = {
    accept = is_shown,
    accept_word = is_shown,
    accept_line = is_shown,
    dismiss = is_shown,
    next = is_attached,
    prev = is_attached,
  }
  for action, is_wanted in pairs(wanted) do
    require('keyturn.keys').map(action, keys[action], is_wanted)
  end
end

--- Start: find the server, attach it to files, map the keys.
---@param options? keyturn.Options
function M.setup(options)
  if not is_supported() then
    return
  end
  if chosen then
    require('keyturn.say').warn('setup() was called before; the later call is ignored.')
    return
  end
  local merged, problem = require('keyturn.config').merge(options)
  if problem then
    require('keyturn.say').warn(problem)
  end
  chosen = merged
  is_enabled = merged.enabled
  if not is_enabled then
    merged.settings.enabled = false
  end
  local surface = require(vim.fn.has('nvim-0.12') == 1 and 'keyturn.native' or 'keyturn.inline')
  require('keyturn.ghost').set_surface(surface)
  watch(surface)
  require('keyturn.caret').watch()
  map(merged.keys)
  require('keyturn.commands').create()
  require('keyturn.server').start(merged, surface)
end

--- Put the whole suggestion into the text.
---@return boolean whether there was one
function M.accept()
  return require('keyturn.ghost').accept(require('keyturn.suggestion').all)
end

--- Put its next word into the text.
---@return boolean
function M.accept_word()
  return require('keyturn.ghost').accept(require('keyturn.suggestion').word)
end

--- Put the rest of its line into the text.
---@return boolean
function M.accept_line()
  return require('keyturn.ghost').accept(require('keyturn.suggestion').line)
end

--- Hide the suggestion until the text changes.
---@return boolean
function M.dismiss()
  return require('keyturn.ghost').dismiss()
end

---@param step 1|-1
local function cycle(step)
  local client = client_here()
  if client and is_enabled then
    require('keyturn.ghost').cycle(client, step)
  end
end

--- Show the next suggestion, or ask for some.
function M.next()
  cycle(1)
end

--- Show the suggestion before.
function M.prev()
  cycle(-1)
end

---@param wanted boolean
local function set_enabled(wanted)
  if not chosen then
    return
  end
  is_enabled = wanted
  chosen.settings.enabled = wanted
  require('keyturn.server').configure()
  if not wanted then
    require('keyturn.requests').cancel(here())
    require('keyturn.ghost').forget(here())
  end
  vim.cmd.redrawstatus()
end

--- Make suggestions again.
function M.enable()
  set_enabled(true)
end

--- Make no suggestions.
function M.disable()
  set_enabled(false)
end

function M.toggle()
  set_enabled(not is_enabled)
end

---@return boolean
function M.is_enabled()
  return is_enabled
end

--- What setup() was given, over the defaults; nil before it.
---@return keyturn.Options?
function M.options()
  return chosen
end

--- A few characters about the server of the current buffer; empty where there is none.
---@return string
function M.statusline()
  if not chosen then
    return ''
  end
  -- A statusline is drawn for each window, with that window's buffer current.
  local client = client_here()
  return require('keyturn.status').short(client and client.id, is_enabled)
end

return M
