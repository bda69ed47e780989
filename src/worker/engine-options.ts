// What an engine in a thread is opened with: those options of `openLocalData` that are plain data.
import * as z from 'zod';

export const engineOptionsSchema = z.object({
  dataDir: z.string().optional(),
  memory: z.boolean().optional(),
  retry: z.object({ attempts: z.number(), baseDelayMs: z.number(), maxDelayMs: z.number() }).partial().optional(),
  maxPayloadBytes: z.number().optional(),
  startProcessor: z.boolean().optional(),
  lockWaitMs: z.number().optional(),
  templateDir: z.string().nullable().optional(),
});

export type EngineOptions = z.infer<typeof engineOptionsSchema>;
