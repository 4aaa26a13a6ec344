/** Starts the server, shows what it is doing, and offers a few commands. Suggestions are the language client's own. */

import * as vscode from 'vscode';
import {
  CloseAction,
  DidChangeConfigurationNotification,
  LanguageClient,
  type LanguageClientOptions,
  State,
} from 'vscode-languageclient/node';

import { type CaretWatch, watchCaret } from './caret';
import { installCommand, locateServer } from './locate';
import { environment, onApiKeyChange, setApiKey } from './secret';
import { showStatistics } from './statistics';
import { type Pause, type ServerStatus, StatusBar } from './status';

const MAX_RESTARTS = 5;

/** How long one that is to stop may take to start first. */
const START_MS = 3_000;

/** Files, unsaved buffers and notebooks' code cells, in every language. */
const SELECTOR = [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-notebook-cell' }];

let client: LanguageClient | undefined;
/** Starts and stops follow each other: two at once would leave two servers. */
let life: Promise<void> = Promise.resolve();
let starting: Promise<void> = Promise.resolve();
let settingNames: string[] = [];
let secrets: vscode.SecretStorage;
let log: vscode.LogOutputChannel;
let status: StatusBar;
let caret: CaretWatch;
let isInstalled = true;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  log = vscode.window.createOutputChannel('keyturn', { log: true });
  secrets = context.secrets;
  settingNames = Object.keys(context.extension.packageJSON.contributes.configuration.properties);
  status = new StatusBar(pause);
  caret = watchCaret((document) => (isOurs(document) ? client : undefined));
  context.subscriptions.push(
    log,
    status,
    vscode.commands.registerCommand('keyturn.toggle', toggle),
    vscode.commands.registerCommand('keyturn.toggleLanguage', toggleLanguage),
    vscode.commands.registerCommand('keyturn.restart', restart),
    vscode.commands.registerCommand('keyturn.showLog', () => log.show()),
    vscode.commands.registerCommand('keyturn.showStatistics', statistics),
    vscode.commands.registerCommand('keyturn.showMenu', showMenu),
    vscode.commands.registerCommand('keyturn.setApiKey', () => setApiKey(secrets)),
    vscode.commands.registerCommand('keyturn.explain', () => (isInstalled ? log.show() : offerInstallation())),
    onApiKeyChange(secrets, () => void restart()),
    vscode.window.onDidChangeActiveTextEditor(() => status.draw()),
    caret,
    vscode.workspace.onDidChangeConfiguration(async (change) => {
      if (change.affectsConfiguration('keyturn.command')) {
        await restart();
      } else if (change.affectsConfiguration('keyturn')) {
        status.draw();
      }
    }),
  );
  await restart();
}

export async function deactivate(): Promise<void> {
  await stop();
}

async function start(): Promise<void> {
  status.starting();
  const server = await locateServer();
  isInstalled = server !== undefined;
  if (!server) {
    status.failed('The keyturn server is not installed here.');
    void offerInstallation();
    return;
  }
  log.info(`Starting ${[server.command, ...server.args, 'serve'].join(' ')}`);
  const options: LanguageClientOptions = {
    documentSelector: SELECTOR,
    outputChannel: log,
    initializationOptions: {},
    initializationFailedHandler: () => false,
    middleware: {
      workspace: {
        configuration: ({ items }) => items.map(({ section }) => (section === 'keyturn' ? settingsThatAreSet() : null)),
        didChangeConfiguration: async () => {
          await started.sendNotification(DidChangeConfigurationNotification.type, {
            settings: { keyturn: settingsThatAreSet() },
          });
        },
      },
    },
  };
  const run = {
    command: server.command,
    args: [...server.args, 'serve'],
    options: { env: await environment(secrets) },
  };
  const started = new LanguageClient('keyturn', 'keyturn', run, options);
  client = started;
  const tell = started.error.bind(started);
  // Of a server that does not start `offerLog` tells, and what can be done.
  started.error = (message, data, show) => tell(message, data, /create connection/.test(message) ? false : show);
  const handler = started.createDefaultErrorHandler(MAX_RESTARTS);
  started.clientOptions.errorHandler = {
    error: (error, message, count) => handler.error(error, message, count),
    // One that had to make room for the next stays away, and so does one that did not come up.
    closed: () =>
      started === client && started.state === State.Running
        ? handler.closed()
        : { action: CloseAction.DoNotRestart, handled: true },
  };
  started.registerFeature({
    fillClientCapabilities: (capabilities) => {
      capabilities.experimental = { ...capabilities.experimental, keyturnStatus: true, keyturnSnippets: true };
    },
    initialize: () => {},
    getState: () => ({ kind: 'static' }),
    clear: () => {},
  });
  started.onNotification('keyturn/status', (said: ServerStatus) => {
    if (started === client) {
      status.serverSays(said);
    }
  });
  started.onDidChangeState(({ newState }) => {
    if (started !== client) {
      return; // one that was stopped to make room for the next
    }
    if (newState === State.Running) {
      caret.again();
    } else if (newState === State.Starting) {
      status.starting();
    } else if (newState === State.Stopped) {
      status.failed('The server has stopped; the log tells more.');
    }
  });
  // Not waited for here: a command that hangs must not hold up the restart with another one.
  starting = started.start().catch((error: unknown) => {
    log.error(messageOf(error));
    if (started === client) {
      status.failed(`The server does not start: ${messageOf(error)}`);
      void offerLog();
    }
  });
}

async function stop(): Promise<void> {
  const stopping = client;
  client = undefined;
  if (stopping?.state === State.Starting) {
    await Promise.race([starting, new Promise((resolve) => setTimeout(resolve, START_MS))]);
  }
  if (stopping?.needsStop()) {
    await stopping.stop().catch((error: unknown) => log.warn(`The server did not stop well: ${String(error)}`));
  }
}

function restart(): Promise<void> {
  life = life.then(stop).then(start).catch((error: unknown) => {
    log.error(messageOf(error));
    status.failed(`The server does not start: ${messageOf(error)}`);
  });
  return life;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Without the defaults of package.json, which would hide what the project's files and the environment say. */
function settingsThatAreSet(): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of settingNames) {
    const known = vscode.workspace.getConfiguration().inspect(name);
    const value = known?.workspaceFolderValue ?? known?.workspaceValue ?? known?.globalValue;
    if (value !== undefined) {
      found[name.replace('keyturn.', '')] = value;
    }
  }
  return found;
}

async function offerLog(): Promise<void> {
  const show = 'Show the Log';
  const again = 'Try Again';
  const message = 'keyturn: the server does not start; the log tells why.';
  const chosen = await vscode.window.showErrorMessage(message, show, again);
  if (chosen === show) {
    log.show();
  } else if (chosen === again) {
    await restart();
  }
}

async function offerInstallation(): Promise<void> {
  const copy = 'Copy Install Command';
  const settings = 'Open Settings';
  const chosen = await vscode.window.showErrorMessage(
    'keyturn: the server is not installed here: it is neither on the PATH nor in ~/.keyturn. Install it, or name it ' +
      'in the setting `keyturn.command`.',
    copy,
    settings,
  );
  if (chosen === copy) {
    await vscode.env.clipboard.writeText(installCommand());
    const again = 'Start';
    const next = await vscode.window.showInformationMessage(
      'keyturn: the command is copied. Run it in a terminal, with the path of your clone, then start the server.',
      again,
    );
    if (next === again) {
      await restart();
    }
  } else if (chosen === settings) {
    // A setting of the machine is shown among those of the machine that the server runs on.
    const page = vscode.env.remoteName ? 'workbench.action.openRemoteSettings' : 'workbench.action.openSettings';
    await vscode.commands.executeCommand(page, { query: 'keyturn.command' });
  }
}

/** The file that suggestions are for; the output panel is none. */
function activeDocument(): vscode.TextDocument | undefined {
  const document = vscode.window.activeTextEditor?.document;
  return document && isOurs(document) ? document : undefined;
}

function isOurs(document: vscode.TextDocument): boolean {
  return SELECTOR.some(({ scheme }) => scheme === document.uri.scheme);
}

/** Whether the settings pause suggestions in the active file. Globs are the server's business. */
function pause(): Pause {
  const settings = vscode.workspace.getConfiguration('keyturn');
  if (isDisabled(settings)) {
    return 'everywhere';
  }
  const language = activeDocument()?.languageId;
  return language && disabledLanguages(settings).includes(language) ? 'language' : undefined;
}

// A setting may have any type: VS Code only underlines a wrong one. The server says what is wrong with it.

function isDisabled(settings: vscode.WorkspaceConfiguration): boolean {
  return settings.get<unknown>('enabled') === false;
}

function disabledLanguages(settings: vscode.WorkspaceConfiguration): string[] {
  const found = settings.get<unknown>('disabledLanguages');
  return Array.isArray(found) ? found.filter((name) => typeof name === 'string') : [];
}

async function toggle(): Promise<void> {
  const settings = vscode.workspace.getConfiguration('keyturn');
  await settings.update('enabled', isDisabled(settings), target(settings, 'enabled'));
}

async function toggleLanguage(): Promise<void> {
  const language = activeDocument()?.languageId;
  if (!language) {
    return;
  }
  const settings = vscode.workspace.getConfiguration('keyturn');
  const disabled = disabledLanguages(settings);
  const next = disabled.includes(language) ? disabled.filter((name) => name !== language) : [...disabled, language];
  await settings.update('disabledLanguages', next, target(settings, 'disabledLanguages'));
}

/** Where a setting is changed: in the workspace if it is set there, else in the user's settings. */
function target(settings: vscode.WorkspaceConfiguration, name: string): vscode.ConfigurationTarget {
  const isSet = settings.inspect(name)?.workspaceValue !== undefined;
  return isSet ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
}

async function statistics(): Promise<void> {
  if (client?.state === State.Running) {
    await showStatistics(client);
  } else {
    await showMenu();
  }
}

interface MenuItem extends vscode.QuickPickItem {
  command?: string;
}

async function showMenu(): Promise<void> {
  const paused = pause();
  const language = activeDocument()?.languageId;
  const items: MenuItem[] = [
    { label: paused === 'everywhere' ? '$(play) Resume suggestions' : '$(circle-slash) Pause suggestions', command: 'keyturn.toggle' },
    { label: '$(graph) Show statistics', command: 'keyturn.showStatistics' },
    { label: '$(output) Show the log', command: 'keyturn.showLog' },
    { label: '$(debug-restart) Restart the server', command: 'keyturn.restart' },
  ];
  if (language && paused !== 'everywhere') {
    const label = paused ? `$(play) Resume suggestions in ${language}` : `$(circle-slash) Pause suggestions in ${language}`;
    items.splice(1, 0, { label, command: 'keyturn.toggleLanguage' });
  }
  if (status.problem) {
    items.unshift({ label: `$(error) ${status.problem}`, command: 'keyturn.explain' });
  }
  const chosen = await vscode.window.showQuickPick(items, { title: 'keyturn', placeHolder: status.problem ?? 'What to do' });
  if (chosen?.command) {
    await vscode.commands.executeCommand(chosen.command);
  }
}
