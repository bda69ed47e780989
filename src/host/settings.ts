// Reads the extension's settings as one typed object. A value outside its declared range counts as the nearest allowed one.
import * as vscode from 'vscode';
import { SETTINGS, type SettingContribution, type SettingId } from './contributions.ts';

export interface Settings {
  readonly dataDirectory: string;
  readonly retryLimit: number;
  readonly retryBaseDelayMs: number;
  readonly retryMaxDelayMs: number;
  readonly pausedAtStart: boolean;
  readonly changesPageSize: number;
  readonly entitiesPageSize: number;
  readonly payloadMaxBytes: number;
}

export function readSettings(): Settings {
  return {
    dataDirectory: text('localData.dataDirectory'),
    retryLimit: Math.round(number('localData.retry.limit')),
    retryBaseDelayMs: number('localData.retry.baseDelay'),
    retryMaxDelayMs: number('localData.retry.maxDelay'),
    pausedAtStart: vscode.workspace.getConfiguration().get('localData.processing.pausedAtStart') === true,
    changesPageSize: Math.round(number('localData.changes.pageSize')),
    entitiesPageSize: Math.round(number('localData.entities.pageSize')),
    payloadMaxBytes: Math.round(number('localData.payload.maxBytes')),
  };
}

/** Whether a change of settings needs the database opened anew to take effect. */
export function touchesEngine(event: vscode.ConfigurationChangeEvent): boolean {
  const engineSettings: SettingId[] = [
    'localData.dataDirectory',
    'localData.retry.limit',
    'localData.retry.baseDelay',
    'localData.retry.maxDelay',
    'localData.payload.maxBytes',
  ];
  return engineSettings.some((id) => event.affectsConfiguration(id));
}

function text(id: SettingId): string {
  const value: unknown = vscode.workspace.getConfiguration().get(id);
  return typeof value === 'string' ? value.trim() : '';
}

function number(id: SettingId): number {
  const { default: fallback, minimum = -Infinity, maximum = Infinity }: SettingContribution = SETTINGS[id];
  const value: unknown = vscode.workspace.getConfiguration().get(id);
  const given = typeof value === 'number' && Number.isFinite(value) ? value : Number(fallback);
  return Math.min(maximum, Math.max(minimum, given));
}
