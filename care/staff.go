package care

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// Provider is one provider.
func (r *Registry) Provider(ctx context.Context, id ProviderID) (Provider, error) {
	return r.store.Provider(ctx, id)
}

// Providers lists all, by name.
func (r *Registry) Providers(ctx context.Context) ([]Provider, error) { return r.store.Providers(ctx) }

func (r *Registry) checkProvider(p *Provider) error {
	if p.Name = strings.TrimSpace(p.Name); p.Name == "" {
		return Invalid("name", "is empty")
	}
	if p.USCC != "" {
		code, err := ParseUSCC(p.USCC)
		if err != nil {
			return err
		}
		p.USCC = code
	}
	if p.Phone != "" {
		n, err := NormalizePhone(p.Phone, r.o.PhoneAreaCode)
		if err != nil {
			return err
		}
		p.Phone = n
	}
	if p.State == "" {
		p.State = "active"
	}
	for _, a := range p.Areas {
		if err := checkArea("areas", a); err != nil {
			return err
		}
	}
	return oneOf("state", p.State, []string{"active", "suspended", "closed"})
}

// SaveProvider saves a provider.
func (r *Registry) SaveProvider(ctx context.Context, p Provider, actor string) (Provider, error) {
	if err := r.checkProvider(&p); err != nil {
		return Provider{}, err
	}
	fresh := p.ID == ""
	if fresh {
		p.ID = NewID[ProviderID]()
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		var was int64
		if !fresh {
			old, err := tx.Provider(p.ID)
			if err != nil {
				return err
			}
			if old.Version != p.Version {
				return Refuse(ErrTaken, "the provider was changed by another; read it again")
			}
			was = old.Version
		}
		return r.putProvider(tx, p, was, actor)
	})
	if err != nil {
		return Provider{}, err
	}
	r.changed("provider", string(p.ID))
	return r.store.Provider(ctx, p.ID)
}

func (r *Registry) putProvider(tx Tx, p Provider, was int64, actor string) error {
	p.Version = was + 1
	if err := tx.SaveProvider(p, was); err != nil {
		return err
	}
	return tx.Append(r.fact(ProviderSaved, "provider", string(p.ID), p.Version, actor, p.ID, map[string]any{"provider_id": p.ID, "state": p.State}))
}

// Responder is one responder.
func (r *Registry) Responder(ctx context.Context, id ResponderID) (Responder, error) {
	return r.store.Responder(ctx, id)
}

// Responders lists all, by name.
func (r *Registry) Responders(ctx context.Context) ([]Responder, error) {
	return r.store.Responders(ctx)
}

// ResponderByUser is the responder who signs in with an account.
func (r *Registry) ResponderByUser(ctx context.Context, id UserID) (Responder, error) {
	return r.store.ResponderByUser(ctx, id)
}

var duties = []string{"on", "off", "paused"}

func (r *Registry) checkResponder(p *Responder) (err error) {
	if p.Name, err = NormalizeName(p.Name); err != nil {
		return err
	}
	if p.Phones, err = r.phones("phones", p.Phones); err != nil {
		return err
	}
	if p.Duty == "" {
		p.Duty = "off"
	}
	for _, c := range p.Certificates {
		if c.Kind == "" {
			return Invalid("certificates", "a certificate without a kind")
		}
		if _, err := time.Parse(time.DateOnly, c.Until); c.Until != "" && err != nil {
			return Invalid("certificates", "%q is not a date such as 2027-06-30", c.Until)
		}
	}
	return cmp.Or(oneOf("duty", p.Duty, duties), oneOf("sex", p.Sex, sexes), oneOf("mode", p.Mode, []string{"", "walk", "ebike", "drive"}), checkArea("home_area", p.HomeArea))
}

// SaveResponder saves a responder.
func (r *Registry) SaveResponder(ctx context.Context, p Responder, actor string) (Responder, error) {
	if err := r.checkResponder(&p); err != nil {
		return Responder{}, err
	}
	fresh := p.ID == ""
	if fresh {
		p.ID = NewID[ResponderID]()
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		var was *Responder
		if !fresh {
			old, err := tx.Responder(p.ID)
			if err != nil {
				return err
			}
			if old.Version != p.Version {
				return Refuse(ErrTaken, "the responder was changed by another; read it again")
			}
			was = &old
		}
		return r.putResponder(tx, p, was, actor)
	})
	if err != nil {
		return Responder{}, err
	}
	r.changed("responder", string(p.ID))
	return r.store.Responder(ctx, p.ID)
}

func (r *Registry) putResponder(tx Tx, p Responder, was *Responder, actor string) error {
	if p.ProviderID != "" {
		if _, err := tx.Provider(p.ProviderID); err != nil {
			return err
		}
	}
	p.Version = 1
	if was != nil {
		p.Version = was.Version + 1
	}
	if err := tx.SaveResponder(p, was); err != nil {
		return err
	}
	return tx.Append(r.fact(ResponderSaved, "responder", string(p.ID), p.Version, actor, p.ProviderID,
		map[string]any{"responder_id": p.ID, "provider_id": p.ProviderID, "duty": p.Duty}))
}

// SetDuty sets a responder on, off or paused; the same duty again changes nothing.
func (r *Registry) SetDuty(ctx context.Context, id ResponderID, duty, actor string) error {
	if err := oneOf("duty", duty, duties); err != nil {
		return err
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		old, err := tx.Responder(id)
		if err != nil || old.Duty == duty {
			return err
		}
		p := old
		p.Duty, p.Version = duty, old.Version+1
		if err := tx.SaveResponder(p, &old); err != nil {
			return err
		}
		return tx.Append(r.fact(ResponderDuty, "responder", string(id), p.Version, actor, p.ProviderID, map[string]any{"responder_id": id, "duty": duty}))
	})
	if err != nil {
		return err
	}
	r.changed("responder", string(id))
	return nil
}

// Areas lists the area tree, by code.
func (r *Registry) Areas(ctx context.Context) ([]Area, error) { return r.store.Areas(ctx) }

// SaveAreas adds areas or replaces those of the same code.
func (r *Registry) SaveAreas(ctx context.Context, areas []Area) error {
	for _, a := range areas {
		if a.Code == "" || a.Name == "" {
			return Invalid("areas", "an area has a code and a name")
		}
		if err := checkArea("code", a.Code); err != nil {
			return err
		}
	}
	return r.store.Change(ctx, func(tx Tx) error { return tx.SaveAreas(areas) })
}
