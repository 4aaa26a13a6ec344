--- Draws a suggestion behind the caret.

local api = vim.api

--- Virtual text shows a tab as one cell.
---@param text string
local function expand_tabs(buf, text)
  return (text:gsub('\t', (' '):rep(vim.bo[buf].tabstop)))
end

--- In place of what the namespace has drawn before.
---@param buf integer
---@param namespace integer
---@param highlight string
---@param text string
---@param row integer
---@param col integer in bytes
return function(buf, namespace, highlight, text, row, col)
  api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  local lines = {} ---@type [string, string][][]
  for line in vim.gsplit(expand_tabs(buf, text), '\n', { plain = true }) do
    lines[#lines + 1] = { { line, highlight } }
  end
  api.nvim_buf_set_extmark(buf, namespace, row, col, {
    virt_text = lines[1],
    virt_text_pos = 'inline',
    virt_lines = vim.list_slice(lines, 2),
    hl_mode = 'combine',
  })
end
