// The live channel: one WebSocket per tab, resumed after every break.
//
// The server's word is the only truth: a command counts as done when its ack has
// come, and after a gap that cannot be resumed everything is read anew.
import { signal } from '@preact/signals';
import { newKey, Refusal } from './api';

export interface LiveEvent { seq: number; at: string; kind: string; agg: string; agg_id: string; incident_id?: string; body: Record<string, unknown> }

interface Message {
  type: 'welcome' | 'snap' | 'ev' | 'ack' | 'hb' | 'emergency' | 'error';
  epoch?: string; seq?: number; build?: string; server_time?: string; views?: Record<string, unknown>;
  at?: string; kind?: string; agg?: string; agg_id?: string; incident_id?: string; body?: Record<string, unknown>;
  key?: string; ok?: boolean; code?: string; message?: string; field?: string; result?: unknown;
}

/** Line says how the connection is: what the banner shows. */
export type Line = 'connecting' | 'live' | 'lost' | 'stale';

const retryMs = [250, 500, 1000, 2000, 4000, 5000];
const staleMs = 15000;
const ackMs = 3000;

interface Waiting { resolve: (v: unknown) => void; reject: (e: Error) => void; text: string; timer: number; late: () => void }

export class Live {
  readonly line = signal<Line>('connecting');
  readonly lastWord = signal<number>(Date.now());
  readonly newBuild = signal(false);
  /** offset is server time minus ours, in ms: timers count by the server's clock. */
  readonly offset = signal(0);

  private socket?: WebSocket;
  private epoch = '';
  private seq = 0;
  private build = '';
  private attempt = 0;
  private closed = false;
  private readonly waiting = new Map<string, Waiting>();

  constructor(
    private readonly views: string[],
    private readonly onSnap: (views: Record<string, unknown>) => void,
    private readonly onEvent: (e: LiveEvent) => void,
    private readonly onEmergency: (m: Record<string, unknown>) => void = () => {},
  ) {
    this.connect();
    window.setInterval(() => this.watch(), 1000);
  }

  /** now is the server's time in ms. */
  now(): number { return Date.now() + this.offset.value; }

  close(): void { this.closed = true; this.socket?.close(); }

  /**
   * command sends a command and resolves on the server's durable answer. It is sent
   * again under the same key after a break, so it is done once. late runs when no
   * answer has come for three seconds.
   */
  command<T>(name: string, args: Record<string, unknown>, late: () => void = () => {}, key = newKey()): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const text = JSON.stringify({ type: 'cmd', key, name, args });
      const timer = window.setTimeout(late, ackMs);
      this.waiting.set(key, { resolve: resolve as (v: unknown) => void, reject, text, timer, late });
      this.send(text);
    });
  }

  private connect(): void {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const s = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket = s;
    s.onopen = () => this.send(JSON.stringify({ type: 'hello', client: 1, epoch: this.epoch, since: this.seq, views: this.views }));
    s.onmessage = (m) => this.take(JSON.parse(m.data as string) as Message);
    s.onclose = (e) => this.lost(e.code);
  }

  private send(text: string): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  private lost(code: number): void {
    if (this.closed) return;
    if (code === 4003 || code === 4001) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      return;
    }
    if (this.line.value === 'live') this.line.value = 'connecting';
    const wait = (retryMs[Math.min(this.attempt, retryMs.length - 1)] ?? 5000) * (0.8 + 0.4 * Math.random());
    this.attempt++;
    window.setTimeout(() => this.connect(), wait);
  }

  private watch(): void {
    const quiet = Date.now() - this.lastWord.value;
    if (this.socket?.readyState === WebSocket.OPEN && quiet < staleMs) return;
    if (quiet > staleMs) this.line.value = 'stale';
    else if (quiet > 2000) this.line.value = 'lost';
  }

  private take(m: Message): void {
    this.lastWord.value = Date.now();
    if (m.server_time) this.offset.value = Date.parse(m.server_time) - Date.now();
    switch (m.type) {
      case 'welcome': this.welcome(m); break;
      case 'snap':
        this.seq = m.seq ?? this.seq;
        this.onSnap(m.views ?? {});
        break;
      case 'ev':
        if ((m.seq ?? 0) > this.seq) {
          this.seq = m.seq!;
          this.onEvent(m as unknown as LiveEvent);
        }
        break;
      case 'hb': this.seq = Math.max(this.seq, m.seq ?? 0); break;
      case 'ack': this.answered(m); break;
      case 'emergency': this.onEmergency(m.body ?? {}); break;
      case 'error': break;
    }
  }

  private welcome(m: Message): void {
    this.attempt = 0;
    this.line.value = 'live';
    if (this.build && m.build !== this.build) this.newBuild.value = true;
    this.build = m.build ?? '';
    if (m.epoch !== this.epoch) this.seq = 0;
    this.epoch = m.epoch ?? '';
    for (const w of this.waiting.values()) this.send(w.text);
  }

  private answered(m: Message): void {
    const w = this.waiting.get(m.key ?? '');
    if (!w) return;
    this.waiting.delete(m.key!);
    window.clearTimeout(w.timer);
    if (m.ok) w.resolve(m.result);
    else w.reject(new Refusal(409, m.code ?? 'internal', m.message ?? '', m.field));
  }
}
