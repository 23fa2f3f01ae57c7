// Where the responder is: sent while he is on duty, never otherwise, and he sees
// when it was sent last.
import { effect, signal } from '@preact/signals';
import { post } from '../shared/api';
import { duty, job } from './state';

export const sentAt = signal(0);
export const trouble = signal<'' | 'denied' | 'unavailable'>('');

const dutyMs = 60000;
const wayMs = 8000;

let watching = 0;
let lastTry = 0;

function gap(): number { return job.value && job.value.status !== 'on_scene' ? wayMs : dutyMs; }

async function take(p: GeolocationPosition): Promise<void> {
  trouble.value = '';
  if (duty.value !== 'on' && !job.value) return;
  if (Date.now() - lastTry < gap()) return;
  lastTry = Date.now();
  try {
    await post('/positions', {
      lat: p.coords.latitude, lng: p.coords.longitude, accuracy_m: Math.round(p.coords.accuracy), at: new Date(p.timestamp).toISOString(), datum: 'wgs84',
    });
    sentAt.value = Date.now();
  } catch {
    lastTry = 0; // the next fix tries again
  }
}

function fail(e: GeolocationPositionError): void {
  trouble.value = e.code === e.PERMISSION_DENIED ? 'denied' : 'unavailable';
}

effect(() => {
  const on = duty.value === 'on' || !!job.value;
  if (on && !watching && 'geolocation' in navigator) {
    watching = navigator.geolocation.watchPosition((p) => void take(p), fail, { enableHighAccuracy: true, maximumAge: 10000, timeout: 30000 });
  } else if (!on && watching) {
    navigator.geolocation.clearWatch(watching);
    watching = 0;
    sentAt.value = 0;
  }
});
