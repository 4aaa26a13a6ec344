/** The API key of a server, in the editor's secret storage: settings are files that people share. */

import * as vscode from 'vscode';

const NAME = 'keyturn.apiKey';

/** Ask for the key and keep it; an empty answer removes it. */
export async function setApiKey(secrets: vscode.SecretStorage): Promise<void> {
  const key = await vscode.window.showInputBox({
    title: 'keyturn: API key of the server',
    prompt: 'Kept in the secret storage of this editor. Empty: no key.',
    password: true,
    ignoreFocusOut: true,
  });
  if (key === '') {
    await secrets.delete(NAME);
  } else if (key !== undefined) {
    await secrets.store(NAME, key);
  }
}

/** Variables for the language server's process: messages to it may be logged, its environment is not. */
export async function environment(secrets: vscode.SecretStorage): Promise<NodeJS.ProcessEnv> {
  const key = await secrets.get(NAME);
  return key ? { ...process.env, KEYTURN_API_KEY: key } : { ...process.env };
}

/** Call back when the key is another one. */
export function onApiKeyChange(secrets: vscode.SecretStorage, changed: () => void): vscode.Disposable {
  return secrets.onDidChange((change) => {
    if (change.key === NAME) {
      changed();
    }
  });
}
