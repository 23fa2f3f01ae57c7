// The live channel: one WebSocket per tab, resumed after every break.
//
// It tells what changed; the pages then read it over HTTP, which is the only truth.
// After a gap that cannot be resumed everything is read anew. Commands do not go
// this way: they are HTTP requests with a key (command.ts).
import { signal } from '@preact/signals';

export interface LiveEvent { seq: number; at: string; kind: string; agg: string; agg_id: string; incident_id?: string; body: Record<string, unknown> }

interface Message {
  type: 'welcome' | 'snap' | 'ev' | 'hb' | 'emergency' | 'error';
  epoch?: string; seq?: number; build?: string; server_time?: string; views?: Record<string, unknown>;
  at?: string; kind?: string; agg?: string; agg_id?: string; incident_id?: string; body?: Record<string, unknown>;
}

/** Line says how the connection is: what the banner shows. */
export type Line = 'connecting' | 'live' | 'lost' | 'stale';

const retryMs = [250, 500, 1000, 2000, 4000, 5000];
const staleMs = 15000;
const lostMs = 2000;

/** Ear is who listens to a live channel. */
export interface Ear {
  snap: (views: Record<string, unknown>) => void;
  event: (e: LiveEvent) => void;
  welcome?: (resumed: boolean) => void;
  emergency?: (body: Record<string, unknown>, at: string | undefined) => void;
}

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
  private lostAt = Date.now();

  constructor(private readonly views: string[], private readonly ear: Ear) {
    this.connect();
    window.setInterval(() => this.watch(), 1000);
    window.addEventListener('online', () => this.hurry());
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.hurry(); });
  }

  /** now is the server's time in ms. */
  now(): number { return Date.now() + this.offset.value; }

  /** clock takes the server's time from an answer that carries it. */
  clock(iso: string | undefined): void {
    const at = Date.parse(iso ?? '');
    if (!Number.isNaN(at)) this.offset.value = at - Date.now();
  }

  private timer = 0;

  private connect(): void {
    window.clearTimeout(this.timer);
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const s = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket = s;
    s.onopen = () => s.send(JSON.stringify({ type: 'hello', client: 1, epoch: this.epoch, since: this.seq, views: this.views }));
    s.onmessage = (m) => this.take(JSON.parse(m.data as string) as Message);
    s.onclose = (e) => { if (this.socket === s) this.lost(e.code); };
  }

  /** hurry tries at once instead of waiting for the next try. */
  private hurry(): void {
    if (this.socket && this.socket.readyState > WebSocket.OPEN) this.connect();
  }

  private lost(code: number): void {
    if (code === 4003 || code === 4001) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      return;
    }
    if (this.line.value === 'live') {
      this.line.value = 'connecting';
      this.lostAt = Date.now();
    }
    const wait = (retryMs[Math.min(this.attempt, retryMs.length - 1)] ?? 5000) * (0.8 + 0.4 * Math.random());
    this.attempt++;
    this.timer = window.setTimeout(() => this.connect(), wait);
  }

  private watch(): void {
    const quiet = Date.now() - this.lastWord.value;
    const open = this.socket?.readyState === WebSocket.OPEN;
    if (quiet > staleMs) {
      this.line.value = 'stale';
      if (open) this.socket!.close(); // a half-open connection: the next one will tell
    } else if (!open && this.line.value === 'connecting' && Date.now() - this.lostAt > lostMs) {
      this.line.value = 'lost';
    }
  }

  private take(m: Message): void {
    this.lastWord.value = Date.now();
    this.clock(m.server_time);
    switch (m.type) {
      case 'welcome': this.welcome(m); break;
      case 'snap':
        this.seq = m.seq ?? this.seq;
        this.ear.snap(m.views ?? {});
        break;
      case 'ev':
        if ((m.seq ?? 0) > this.seq) {
          this.seq = m.seq!;
          this.ear.event(m as unknown as LiveEvent);
        }
        break;
      case 'hb': this.seq = Math.max(this.seq, m.seq ?? 0); break;
      case 'emergency': this.ear.emergency?.(m.body ?? {}, m.at); break;
      case 'error': break;
    }
  }

  private welcome(m: Message): void {
    this.attempt = 0;
    this.line.value = 'live';
    if (this.build && m.build && m.build !== this.build) this.newBuild.value = true;
    this.build = m.build ?? '';
    const resumed = this.epoch !== '' && m.epoch === this.epoch;
    if (!resumed) this.seq = 0;
    this.epoch = m.epoch ?? '';
    this.ear.welcome?.(resumed);
  }
}
