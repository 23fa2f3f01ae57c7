package store

import (
	"context"
	"fmt"

	"anling/callcenter/sip"
	"anling/store/db"
)

var (
	_ sip.Accounts = (*Users)(nil)
	_ sip.Bindings = (*Users)(nil)
)

// SaveBinding implements sip.Bindings.
func (u *Users) SaveBinding(ctx context.Context, b sip.Binding) error {
	err := u.s.Write(ctx, Normal, func(tx *Tx) error {
		if err := tx.DropExpiredBindings(tx.ctx, us(tx.now)); err != nil {
			return err
		}
		return tx.PutBinding(tx.ctx, db.PutBindingParams{Account: b.Account, Contact: b.Contact, ExpiresUs: us(b.Expires), Doc: document(b)})
	})
	if err != nil {
		return fmt.Errorf("save binding of phone %s: %w", b.Account, err)
	}
	return nil
}

// DeleteBinding implements sip.Bindings.
func (u *Users) DeleteBinding(ctx context.Context, account, contact string) error {
	err := u.s.Write(ctx, Normal, func(tx *Tx) error { return tx.DropBinding(tx.ctx, account, contact) })
	if err != nil {
		return fmt.Errorf("drop binding of phone %s: %w", account, err)
	}
	return nil
}

// LoadBindings implements sip.Bindings: those that have not run out.
func (u *Users) LoadBindings(ctx context.Context) ([]sip.Binding, error) {
	docs, err := u.s.read.Bindings(ctx, us(u.s.opts.Now()))
	return readAll[sip.Binding]("bindings", docs, err, same)
}
