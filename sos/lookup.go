package sos

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"anling/care"
)

// lookup finds who speaks. It always answers: an identity that the registry does not
// know, or cannot tell in time, is an entry without device. What was known before
// stays good while the registry is away.
func (i *Intake) lookup(ctx context.Context, protocol, external string) *entry {
	id := identity(protocol, external)
	i.mu.Lock()
	e := i.known[id]
	generation := i.generation
	ok := e != nil && !e.stale && i.now().Sub(e.read) < i.opts.Fresh && (e.device != "" || e.generation == generation)
	i.mu.Unlock()
	if ok {
		i.lookups.WithLabelValues("cache").Inc()
		return e
	}
	fresh, err := i.read(ctx, protocol, external)
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.lookups.WithLabelValues("failed").Inc()
		i.log.Warn("the registry does not answer", zap.String("protocol", protocol), zap.Error(err))
		if e != nil {
			return e
		}
		return &entry{}
	}
	fresh.generation = generation
	i.remember(id, fresh)
	return fresh
}

// read asks the registry.
func (i *Intake) read(ctx context.Context, protocol, external string) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, i.opts.Lookup)
	defer cancel()
	e := &entry{read: i.now()}
	d, err := i.opts.Directory.DeviceByExternal(ctx, protocol, external)
	if errors.Is(err, care.ErrNotFound) {
		i.lookups.WithLabelValues("unknown").Inc()
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	i.lookups.WithLabelValues("read").Inc()
	e.device, e.elder, e.state, e.datum, e.fix, e.levels = d.ID, d.ElderID, d.State, d.Datum, d.LastFix, d.Levels
	if e.model = d.Profile; e.model == "" {
		e.model = d.Model
	}
	if e.datum == "" {
		e.datum = "wgs84"
	}
	if e.elder == "" {
		return e, nil
	}
	elder, err := i.opts.Directory.Elder(ctx, e.elder)
	if err != nil { // the device is known, and that is what matters
		i.log.Warn("the registry does not tell an elder", zap.String("elder_id", string(e.elder)), zap.Error(err))
		e.stale = true
		return e, nil
	}
	e.home, e.area = elder.Home, elder.AreaCode
	return e, nil
}

// remember puts an entry into the cache; mu is held. What this process knows better
// than the registry's last commit is carried over.
func (i *Intake) remember(id string, e *entry) {
	if old := i.known[id]; old != nil {
		if old.device == e.device {
			if old.fix != nil {
				e.moved(old.fix)
			}
			e.levels, e.raised = old.levels, old.raised
		}
		i.forget(id, old)
	}
	for other, old := range i.known { // any one: the map has no order
		if len(i.known) < i.opts.Cache {
			break
		}
		i.forget(other, old)
	}
	i.known[id] = e
	if e.device == "" {
		return
	}
	i.byDevice[e.device] = id
	if e.elder != "" {
		if i.byElder[e.elder] == nil {
			i.byElder[e.elder] = map[string]struct{}{}
		}
		i.byElder[e.elder][id] = struct{}{}
	}
}

func (i *Intake) forget(id string, e *entry) {
	delete(i.known, id)
	if i.byDevice[e.device] == id {
		delete(i.byDevice, e.device)
	}
	if ids := i.byElder[e.elder]; ids != nil {
		if delete(ids, id); len(ids) == 0 {
			delete(i.byElder, e.elder)
		}
	}
}

// Changed tells that the registry saved a "device" or an "elder": the next alarm
// reads it again. The wire joins it to care.Registry.OnChange.
func (i *Intake) Changed(kind, id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch kind {
	case "device":
		i.generation++ // it may be one that was unknown
		if e := i.known[i.byDevice[care.DeviceID(id)]]; e != nil {
			e.stale = true
		}
	case "elder":
		for key := range i.byElder[care.ElderID(id)] {
			i.known[key].stale = true
		}
	}
}

// Model implements Models.
func (i *Intake) Model(ctx context.Context, protocol, external string) string {
	return i.lookup(ctx, protocol, external).model
}
