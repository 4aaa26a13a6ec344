-- What only a test can ask of the editor. Each function's result comes back as JSON.

local M = {}

function M.mode()
  return vim.api.nvim_get_mode().mode
end

function M.lines()
  return vim.api.nvim_buf_get_lines(0, 0, -1, false)
end

function M.statusline()
  return require('keyturn').statusline()
end

function M.messages()
  return vim.fn.execute('messages')
end

local function marks()
  local names = vim.api.nvim_get_namespaces()
  local namespace = names['nvim.lsp.inline_completion'] or names['keyturn']
  return namespace and vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true }) or {}
end

--- The suggestion that is drawn now; empty when there is none.
function M.ghost()
  local lines = {}
  for _, mark in ipairs(marks()) do
    for _, chunks in ipairs(vim.list_extend({ mark[4].virt_text }, mark[4].virt_lines or {})) do
      local texts = vim.tbl_map(function(chunk)
        return chunk[1]
      end, chunks)
      lines[#lines + 1] = table.concat(texts)
    end
  end
  return table.concat(lines, '\n')
end

--- Where it is drawn.
function M.ghost_position()
  local mark = marks()[1]
  return mark[2], mark[3]
end

--- The server's own figures; empty while there is no server.
function M.stats()
  local client = vim.lsp.get_clients({ name = 'keyturn', bufnr = 0 })[1]
  if not client or not client.initialized then
    return vim.empty_dict()
  end
  -- Changes wait up to 150 ms to be sent; a request sends them first if it names its buffer by number.
  local buf = vim.api.nvim_get_current_buf()
  local request = { 'keyturn/stats', { uri = vim.uri_from_bufnr(buf), digest = true }, 20000, buf }
  if vim.fn.has('nvim-0.11') == 1 then
    table.insert(request, 1, client)
  end
  local answer = client.request_sync(unpack(request))
  return answer and answer.result or vim.empty_dict()
end

--- sha256 of the server's text and of the buffer's as it would be written, at one moment.
function M.digests()
  local line_end = ({ unix = '\n', dos = '\r\n', mac = '\r' })[vim.bo.fileformat]
  local text = table.concat(M.lines(), line_end) .. (vim.bo.eol and line_end or '')
  return { M.stats().sha256, vim.fn.sha256(text) }
end

function M.children()
  return vim.api.nvim_get_proc_children(vim.fn.getpid())
end

return M
