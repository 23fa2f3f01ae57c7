package dispatch

import (
	"testing"

	"anling/dispatch/assign"
)

// TestEveryPairOfStatuses holds the moves to the drawing, pair by pair.
func TestEveryPairOfStatuses(t *testing.T) {
	allowed := map[string]bool{}
	for _, p := range []string{
		"raised ringing", "raised answered", "raised dispatching", "raised attending", "raised resolved", "raised merged",
		"ringing answered", "ringing dispatching", "ringing attending", "ringing resolved", "ringing merged",
		"answered dispatching", "answered attending", "answered resolved", "answered merged",
		"dispatching answered", "dispatching attending", "dispatching resolved", "dispatching merged",
		"attending dispatching", "attending resolved", "attending merged",
		"resolved closed", "resolved answered", "closed answered",
	} {
		allowed[p] = true
	}
	for _, from := range Statuses() {
		for _, to := range Statuses() {
			i := Incident{Status: from}
			if err := i.move(to); (err == nil) != allowed[string(from)+" "+string(to)] {
				t.Errorf("%s → %s: %v", from, to, err)
			}
		}
		if from.Open() == (from == Closed || from == Merged) {
			t.Errorf("%s is open: %t", from, from.Open())
		}
	}
}

func TestEveryPairOfAssignments(t *testing.T) {
	allowed := map[string]bool{}
	for _, p := range []string{
		"searching offered", "searching escalated", "searching cancelled",
		"offered searching", "offered accepted", "offered escalated", "offered cancelled",
		"escalated searching", "escalated offered", "escalated accepted", "escalated cancelled",
		"accepted en_route", "accepted on_scene", "accepted reassigned", "accepted cancelled",
		"en_route on_scene", "en_route reassigned", "en_route cancelled",
		"on_scene transport", "on_scene done", "on_scene reassigned", "on_scene cancelled",
		"transport done", "transport reassigned", "transport cancelled",
		"reassigned searching", "reassigned cancelled",
	} {
		allowed[p] = true
	}
	for _, from := range assign.Statuses() {
		for _, to := range assign.Statuses() {
			if assign.CanMove(from, to) != allowed[string(from)+" "+string(to)] {
				t.Errorf("%s → %s: %t", from, to, assign.CanMove(from, to))
			}
		}
	}
	final := map[assign.OfferStatus]bool{assign.OfferAccepted: true, assign.OfferDeclined: true, assign.OfferTaken: true, assign.OfferWithdrawn: true}
	for _, from := range assign.OfferStatuses() {
		for _, to := range assign.OfferStatuses() {
			may := assign.CanMoveOffer(from, to)
			if may && (final[from] || from == to || to == assign.Sent) {
				t.Errorf("an offer moves %s → %s", from, to)
			}
		}
	}
}
