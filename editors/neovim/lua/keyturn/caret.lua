--- Tells the server where someone has gone, so that it has read there before they type.

local M = {}

local PAUSE_MS = 100

local timer = assert(vim.uv.new_timer())

local function tell()
  local client = require('keyturn.server').client_of(vim.api.nvim_get_current_buf())
  if client then
    local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
    require('keyturn.requests').notify(client, 'keyturn/caret', params)
  end
end

--- In insert mode there is nothing to tell: suggestions are asked for at each place.
function M.watch()
  vim.api.nvim_create_autocmd({ 'BufEnter', 'CursorMoved', 'LspAttach' }, {
    group = vim.api.nvim_create_augroup('keyturn.caret', { clear = true }),
    callback = function()
      timer:start(PAUSE_MS, 0, vim.schedule_wrap(tell))
    end,
  })
end

return M
