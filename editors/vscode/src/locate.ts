/** Where the server is: the setting, the PATH, `~/.keyturn`, the chosen Python interpreter, in this order. */

import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { homedir } from 'node:os';
import * as path from 'node:path';
import { promisify } from 'node:util';
import * as vscode from 'vscode';

const run = promisify(execFile);

const PYTHON_EXTENSION = 'ms-python.python';
const PROBE_MS = 10_000;
const IS_WINDOWS = process.platform === 'win32';

/** Where the README installs the server. */
const INSTALLED = path.join(homedir(), '.keyturn', IS_WINDOWS ? 'Scripts' : 'bin');

export interface ServerCommand {
  command: string;
  args: string[];
}

/** The command that starts the server, without `serve`; undefined where there is none. Throws for a setting that is none. */
export async function locateServer(): Promise<ServerCommand | undefined> {
  const [command, ...args] = chosenCommand();
  if (command) {
    return { command, args };
  }
  const found = await find('keyturn', [...pathFolders(), INSTALLED]);
  if (found) {
    return { command: found, args: [] };
  }
  // An interpreter, and what it imports, may be the workspace's own: -P keeps it from what lies in the folder.
  const python = vscode.workspace.isTrusted ? await chosenPython() : undefined;
  return python && (await hasServer(python)) ? { command: python, args: ['-P', '-m', 'lsp.cli'] } : undefined;
}

/** What to type to get a server, from a clone. */
export function installCommand(): string {
  return IS_WINDOWS
    ? 'py -m venv $HOME\\.keyturn; & $HOME\\.keyturn\\Scripts\\pip install PATH_TO_THE_CLONE_OF_KEYTURN'
    : 'python3 -m venv ~/.keyturn && ~/.keyturn/bin/pip install PATH_TO_THE_CLONE_OF_KEYTURN';
}

/** The setting, as people write it: a list, or its first word alone; with `serve` or without; `~` for the home folder. */
function chosenCommand(): string[] {
  const setting = vscode.workspace.getConfiguration('keyturn').get<unknown>('command') ?? [];
  const words: unknown[] = Array.isArray(setting) ? setting : [setting];
  if (!words.every((word) => typeof word === 'string')) {
    throw new Error('the setting `keyturn.command` must be a list of words.');
  }
  const [command, ...args] = words;
  if (!command) {
    return [];
  }
  if (args.at(-1) === 'serve') {
    args.pop();
  }
  return [command.replace(/^~(?=[\\/])/, homedir()), ...args];
}

function pathFolders(): string[] {
  return (process.env['PATH'] ?? '').split(path.delimiter).filter(Boolean);
}

async function find(name: string, folders: string[]): Promise<string | undefined> {
  const suffixes = IS_WINDOWS ? ['.exe', '.cmd'] : [''];
  for (const folder of folders) {
    for (const suffix of suffixes) {
      const candidate = path.join(folder, name + suffix);
      try {
        await access(candidate, constants.X_OK);
        return candidate;
      } catch {
        // not there
      }
    }
  }
  return undefined;
}

async function chosenPython(): Promise<string | undefined> {
  const extension = vscode.extensions.getExtension(PYTHON_EXTENSION);
  if (!extension) {
    return undefined;
  }
  try {
    const api: unknown = await extension.activate();
    const environments = (api as { environments?: { getActiveEnvironmentPath?: () => { path?: string } } }).environments;
    return environments?.getActiveEnvironmentPath?.().path;
  } catch {
    return undefined; // the Python extension is broken: that is its own business
  }
}

async function hasServer(python: string): Promise<boolean> {
  try {
    await run(python, ['-P', '-c', 'import lsp.cli'], { timeout: PROBE_MS });
    return true;
  } catch {
    return false;
  }
}
