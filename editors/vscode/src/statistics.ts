/** What the session has come to so far, from the server's `keyturn/stats`. */

import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

interface Stats {
  counts: { prompt: number; kept: number; turned: number; encoded: number; stale: number } | null;
  timings_ms: { first_token: number; total: number } | null;
  cache_bytes: number | null;
  requests: number;
  shown: number;
  accepted: number;
  model: string | null;
  engine: string | null;
}

export async function showStatistics(client: LanguageClient): Promise<void> {
  const uri = vscode.window.activeTextEditor?.document.uri.toString() ?? '';
  const stats = await client.sendRequest<Stats>('keyturn/stats', { uri });
  await vscode.window.showInformationMessage('keyturn: this session', { modal: true, detail: describe(stats) });
}

function describe(stats: Stats): string {
  const share = stats.shown ? ` (${Math.round((100 * stats.accepted) / stats.shown)} % of those shown)` : '';
  const lines = [
    `Model: ${stats.model ?? 'none yet'} (${stats.engine ?? 'no engine'})`,
    `Requests: ${stats.requests}, shown: ${stats.shown}, accepted: ${stats.accepted}${share}`,
  ];
  if (stats.counts && stats.timings_ms) {
    const { prompt, kept, turned, encoded, stale } = stats.counts;
    lines.push(
      '',
      'The last suggestion in this file:',
      `${Math.round(stats.timings_ms.total)} ms, the first token after ${Math.round(stats.timings_ms.first_token)} ms`,
      `${prompt} tokens read: ${kept} kept, ${turned} turned, ${encoded} encoded; ${stale} of them stale`,
      `Cache: ${((stats.cache_bytes ?? 0) / 1024 / 1024).toFixed(1)} MB`,
    );
  }
  return lines.join('\n');
}
