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

/** Settings as the server asks for them, with the key put in. */
export async function withApiKey(secrets: vscode.SecretStorage, sections: unknown[]): Promise<unknown[]> {
  const apiKey = await secrets.get(NAME);
  return apiKey ? sections.map((section) => ({ ...(section as object | null), apiKey })) : sections;
}

/** Call back when the key is another one. */
export function onApiKeyChange(secrets: vscode.SecretStorage, changed: () => void): vscode.Disposable {
  return secrets.onDidChange((change) => {
    if (change.key === NAME) {
      changed();
    }
  });
}
