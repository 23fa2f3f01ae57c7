// The JSON of the HTTP API, as the pages read it. Absent means absent.

export interface Items<T> { items: T[]; next?: string }

export interface Me { id: string; name: string; display_name?: string; role: string; responder_id?: string; provider_id?: string; lang?: string }

export type Priority = 1 | 2 | 3 | 4;

export interface Fix { point: { lat: number; lng: number }; source: string; accuracy_m?: number; at: string; datum?: string }

export interface Note { at: string; by: string; text: string }

export interface Contact { id: string; rank: number; name: string; relation: string; phones?: string[]; distance_min?: number; key_holder?: boolean }

export interface Health {
  diagnoses?: string[]; medication?: string[]; allergies?: string[]; blood_type?: string; special_care?: string[]; oxygen?: boolean;
  mobility_aid?: string; falls_12m?: number; preferred_hospital?: string; family_doctor?: string;
}

export interface Communication { dialects?: string[]; mandarin?: string; hearing?: string; speech?: string; vision?: string; quiet_hours?: string; has_duress_word?: boolean }

export interface Elder {
  id: string; name?: string; sex?: string; age?: number; birth_date?: string; area_code?: string; address?: string;
  unit_floor_room?: string; lift?: boolean; entry_note?: string; living_state?: string; tags?: { code: string }[]; ability?: string;
  health?: Health; communication?: Communication; has_key_safe?: boolean; has_door_code?: boolean; forced_entry?: boolean; risk_notes?: string;
  preferences?: string; phones?: string[]; contacts?: Contact[]; home?: { lat: number; lng: number };
}

export interface Device { id: string; kind: string; protocol: string; model?: string; external_id_masked?: string; battery?: number; last_seen?: string }

export interface Incident {
  id: string; no: string; status: string; source: string; kinds: string[]; priority: Priority; elder_id?: string; device_id?: string;
  claimed_id?: string; call_ids?: string[]; locations?: Fix[]; area?: string; presses: number; owner?: string; owner_name?: string;
  claim: number; rung: number; unattended?: boolean; drill?: boolean; opened_at: string; last_at: string; answered_at?: string;
  resolved_at?: string; closed_at?: string; closing?: { outcome: string; false_class?: string; note?: string }; notes?: Note[];
  deadline?: string; version: number; elder?: Elder; device?: Device;
}

export interface Candidate {
  responder_id: string; name?: string; kind?: string; verdict: string; distance_m: number; travel_sec: number; fix_source?: string;
  fix_age_sec: number; score: number; terms?: Record<string, number>; remarks?: string[]; key_holder?: boolean;
}

export interface Assignment {
  id: string; incident_id?: string; elder_id?: string; priority: Priority; place: Fix; status: string; epoch: number; wave: number;
  responder_id?: string; responder_name?: string; offer_id?: string; reasons?: Candidate[]; created_at: string; accepted_at?: string; en_route_at?: string;
  on_scene_at?: string; done_at?: string; arrive_by?: string; outcome?: string; version: number; elder?: Elder; kinds?: string[];
}

export interface Offer {
  id: string; assignment_id: string; incident_id?: string; responder_id: string; responder_name?: string; priority: Priority; wave: number; epoch: number;
  status: string; place: Fix; distance_m: number; travel_sec: number; sent_at: string; deadline: string; seen_at?: string; answered_at?: string;
  reason?: string; elder?: Elder; kinds?: string[];
}

export interface AlarmRow { id: string; protocol: string; kinds: string[]; received_at: string; device_time?: string }

export interface TimelineEvent { id: string; at: string; type: string; agg: string; agg_id: string; actor: string; actor_name?: string; body: Record<string, unknown> }

export interface Detail {
  incident: Incident; elder?: Elder; device?: Device; assignments?: Assignment[]; offers?: Offer[]; alarms?: AlarmRow[]; calls?: Call[];
  tasks?: Task[]; timeline?: TimelineEvent[];
}

export interface Task {
  id: string; kind: string; incident_id?: string; elder_id?: string; device_id?: string; claimed_id?: string; kinds?: string[];
  priority: Priority; count: number; open: boolean; taken_by?: string; taken_by_name?: string; created_at: string; updated_at: string;
}

export interface Call {
  id: string; state: string; direction?: string; from?: string; to?: string; incident_id?: string; elder_id?: string; operator_id?: string;
  operator_name?: string; class?: string; sos?: boolean; name?: string; purpose?: string; position?: number; trouble?: string; unsaved?: boolean;
  offered?: string[]; received_at: string; answered_at?: string; bridged_at?: string; ended_at?: string; result?: string; elder?: Elder; recording?: boolean; recording_seconds?: number;
}

export interface Operator { user_id: string; name: string; state: string; reason?: string; since?: string; account?: string; registered?: boolean; call_id?: string; deadline?: string }

export interface Callback {
  id: string; state: string; class?: string; sos?: boolean; priority?: Priority; number?: string; name?: string; elder_id?: string; incident_id?: string; reason?: string; opened_at: string; last_at?: string; due_at?: string;
  attempts?: number; elder?: Elder;
}

export interface Status { state: string; parts: { name: string; state: string; detail?: string }[]; now: string; hotline?: string }

export interface ElderHit { id: string; name: string; sex?: string; age?: number; address?: string; phones?: string[]; matched?: string; contact?: string }

export interface Responder {
  id: string; name: string; kind: string; duty: string; slot?: string; fix?: Fix; assignment_id?: string; phone_masked?: string; skills?: string[];
}

export interface Result { offer_id: string; assignment_id: string; incident_id?: string; status: string; epoch: number }
