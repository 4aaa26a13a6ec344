/** Tells the server where someone has gone, so that it has read there before they type. */

import * as vscode from 'vscode';
import { type LanguageClient, State } from 'vscode-languageclient/node';

const PAUSE_MS = 100;

export interface CaretWatch extends vscode.Disposable {
  /** Tell where the user is now; a server that has just started does not know. */
  again(): void;
}

/** `find` gives the client that a document belongs to, if any. */
export function watchCaret(find: (document: vscode.TextDocument) => LanguageClient | undefined): CaretWatch {
  let timer: NodeJS.Timeout | undefined;
  let seen = '';

  function moved(editor: vscode.TextEditor | undefined): void {
    clearTimeout(timer);
    if (editor) {
      timer = setTimeout(() => tell(editor), PAUSE_MS);
    }
  }

  function tell({ document, selection }: vscode.TextEditor): void {
    const client = find(document);
    if (client?.state === State.Running) {
      const params = client.code2ProtocolConverter.asTextDocumentPositionParams(document, selection.active);
      void client.sendNotification('keyturn/caret', params);
    }
  }

  const watching = vscode.Disposable.from(
    vscode.window.onDidChangeActiveTextEditor(moved),
    vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => {
      // Typing moves the caret, too; of that the server hears anyway.
      const { uri, version } = textEditor.document;
      const text = `${version} ${uri.toString()}`;
      if (text === seen) {
        moved(textEditor);
      }
      seen = text;
    }),
    { dispose: () => clearTimeout(timer) },
  );
  return { again: () => moved(vscode.window.activeTextEditor), dispose: () => watching.dispose() };
}
