/** Where the server is: the setting, the PATH, the Python interpreter that the user has chosen, in this order. */

import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import * as path from 'node:path';
import { promisify } from 'node:util';
import * as vscode from 'vscode';

const run = promisify(execFile);

const PYTHON_EXTENSION = 'ms-python.python';
const PROBE_MS = 10_000;

export interface ServerCommand {
  command: string;
  args: string[];
}

/** The command that starts the server, without `serve`; undefined where there is none. */
export async function locateServer(): Promise<ServerCommand | undefined> {
  const [command, ...args] = vscode.workspace.getConfiguration('keyturn').get<string[]>('command', []);
  if (command) {
    return { command, args };
  }
  const onPath = await findOnPath('keyturn');
  if (onPath) {
    return { command: onPath, args: [] };
  }
  const python = await chosenPython();
  return python && (await hasServer(python)) ? { command: python, args: ['-m', 'lsp.cli'] } : undefined;
}

/** What to type to get a server, from a clone: with the interpreter that the user has chosen, else any `python3`. */
export async function installCommand(): Promise<string> {
  const python = (await chosenPython()) ?? 'python3';
  return `${/\s/.test(python) ? `"${python}"` : python} -m pip install PATH_TO_THE_CLONE_OF_KEYTURN`;
}

async function findOnPath(name: string): Promise<string | undefined> {
  const suffixes = process.platform === 'win32' ? ['.exe', '.cmd'] : [''];
  for (const folder of (process.env['PATH'] ?? '').split(path.delimiter).filter(Boolean)) {
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
    await run(python, ['-c', 'import lsp.cli'], { timeout: PROBE_MS });
    return true;
  } catch {
    return false;
  }
}
