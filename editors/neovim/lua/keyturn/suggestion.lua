--- What is left of a suggestion, and which part of it a key takes. Knows texts only, no editor.

local M = {}

--- What is left to suggest; nil when what was typed goes another way.
---
---     then    before | after         suggested "print(x)"
---     now     before pri | after     left      "nt(x)"
---
---@param text string the whole suggestion
---@param typed string what stands now between the suggestion's place and the caret
---@return string?
function M.rest(text, typed)
  if #typed < #text and vim.startswith(text, typed) then
    return text:sub(#typed + 1)
  end
end

--- The text of a snippet: its placeholders as they are before anyone fills them in.
---@param snippet string of plain text, `${1:…}` and `$0`, with `\`, `$` and `}` escaped
---@return string
function M.plain(snippet)
  local text, from = {}, 1
  while from <= #snippet do
    local rest = snippet:sub(from)
    local mark = rest:match('^%$%{%d+:') or rest:match('^%$%d+') or rest:match('^}')
    local escaped = rest:match('^\\(.)')
    text[#text + 1] = escaped or (mark and '' or rest:sub(1, 1))
    from = from + (mark and #mark or escaped and 2 or 1)
  end
  return table.concat(text)
end

--- The next word with the white space before it. Punctuation in a row counts as a word.
---@param text string
---@return string
function M.word(text)
  -- Bytes from 128 on belong to letters of other scripts and to emoji: no character is cut.
  local _, blank_end = text:find('^%s*')
  local from = blank_end + 1
  local _, word_end = text:find('^[%w_\128-\255]+', from)
  if not word_end then
    _, word_end = text:find('^[^%w_%s\128-\255]+', from)
  end
  return text:sub(1, word_end or blank_end)
end

--- The rest of the line; when nothing is left of it, the line break and the next line with text.
---@param text string
---@return string
function M.line(text)
  return text:match('^\n*[^\n]*')
end

--- All of it.
---@param text string
---@return string
function M.all(text)
  return text
end

return M
