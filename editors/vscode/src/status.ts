/** The status bar item. What the server says decides it, unless suggestions are paused or there is no server. */

import * as vscode from 'vscode';

/** `keyturn/status`, see docs/protocol.md. */
export interface ServerStatus {
  state: 'waiting' | 'loading' | 'ready' | 'error';
  message: string | null;
  model: string | null;
  engine: string | null;
  last_ms: number | null;
  percent: number | null;
}

export type Pause = 'everywhere' | 'language' | undefined;

export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('keyturn.status', vscode.StatusBarAlignment.Right, 100);
  private server: ServerStatus | undefined;
  private failure: string | undefined;

  constructor(private readonly pause: () => Pause) {
    this.item.name = 'keyturn';
    this.item.command = 'keyturn.showMenu';
    this.item.show();
    this.draw();
  }

  /** Why there are no suggestions; undefined while there are. */
  get problem(): string | undefined {
    return this.failure ?? (this.server?.state === 'error' ? this.server.message ?? 'The engine failed.' : undefined);
  }

  serverSays(status: ServerStatus): void {
    this.server = status;
    this.failure = undefined;
    this.draw();
  }

  starting(): void {
    this.server = this.failure = undefined;
    this.draw();
  }

  failed(reason: string): void {
    this.failure = reason;
    this.draw();
  }

  draw(): void {
    const { text, tooltip, isError } = this.look();
    this.item.text = text;
    this.item.tooltip = tooltip;
    this.item.accessibilityInformation = { label: `keyturn: ${tooltip}` };
    this.item.backgroundColor = isError ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
  }

  dispose(): void {
    this.item.dispose();
  }

  private look(): { text: string; tooltip: string; isError?: boolean } {
    if (this.problem) {
      return { text: '$(error) keyturn', tooltip: this.problem, isError: true };
    }
    const pause = this.pause();
    if (pause) {
      const where = pause === 'language' ? ' in this language' : '';
      return { text: '$(circle-slash) keyturn', tooltip: `Suggestions are paused${where}.` };
    }
    const server = this.server;
    if (server?.state === 'waiting' && server.message) {
      return { text: '$(circle-slash) keyturn', tooltip: server.message };
    }
    if (server?.state !== 'ready') {
      const percent = server?.percent === null || server?.percent === undefined ? '' : ` ${server.percent} %`;
      return { text: `$(sync~spin) keyturn${percent}`, tooltip: server?.message ?? 'Starting.' };
    }
    if (server.message) {
      return { text: '$(circle-slash) keyturn', tooltip: server.message };
    }
    const last = server.last_ms === null ? '' : ` ${Math.round(server.last_ms)} ms`;
    const tooltip = `Ready: ${server.model ?? 'unknown model'}${last && `, last suggestion in${last}`}.`;
    return { text: `$(sparkle) keyturn${last}`, tooltip };
  }
}
