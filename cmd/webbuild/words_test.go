package main

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"anling/callcenter"
	"anling/care"
	"anling/dispatch"
	"anling/dispatch/assign"
	"anling/event"
)

const web = "../../web"

func readWords(t *testing.T, lang string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(web, "i18n", lang+".json"))
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	if err := json.Unmarshal(text, &words); err != nil {
		t.Fatalf("%s: %v", lang, err)
	}
	return words
}

// source is all TypeScript of the pages.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(web, "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Ext(path), ".ts") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

var (
	parameter = regexp.MustCompile(`\{\w+\}`)
	literal   = regexp.MustCompile(`'([a-z_]+(?:\.[A-Za-z0-9_]+)+)'`)
	called    = regexp.MustCompile(`\bt\('([^']+)'`)
	group     = regexp.MustCompile("(?:\\bterm\\(|\\bgroup=)['\"](\\w+)['\"]|words\\(`(\\w+)\\.")
	hanzi     = regexp.MustCompile(`\p{Han}`)
)

func TestWordsAreTheSameInBothLanguages(t *testing.T) {
	zh, en := readWords(t, "zh-CN"), readWords(t, "en")
	for key, text := range zh {
		other, ok := en[key]
		if !ok {
			t.Errorf("%s is missing in en", key)
			continue
		}
		a, b := parameter.FindAllString(text, -1), parameter.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s has parameters %v in zh-CN and %v in en", key, a, b)
		}
		if strings.TrimSpace(text) == "" || strings.TrimSpace(other) == "" {
			t.Errorf("%s is empty", key)
		}
		if hanzi.MatchString(other) {
			t.Errorf("%s is not English in en: %q", key, other)
		}
	}
	for key := range en {
		if _, ok := zh[key]; !ok {
			t.Errorf("%s is missing in zh-CN", key)
		}
	}
}

func TestEveryWordIsUsedAndEveryUsedWordIsThere(t *testing.T) {
	zh, src := readWords(t, "zh-CN"), source(t)
	used, groups := map[string]bool{}, map[string]bool{}
	for _, m := range literal.FindAllStringSubmatch(src, -1) {
		used[m[1]] = true
	}
	for _, m := range group.FindAllStringSubmatch(src, -1) {
		groups[m[1]+m[2]] = true
	}
	for _, m := range called.FindAllStringSubmatch(src, -1) {
		if _, ok := zh[m[1]]; !ok {
			t.Errorf("t('%s') has no words", m[1])
		}
	}
	for key := range zh {
		if g, _, _ := strings.Cut(key, "."); !used[key] && !groups[g] {
			t.Errorf("%s is not used", key)
		}
	}
	for g := range groups {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(zh)), func(k string) bool { return strings.HasPrefix(k, g+".") }) {
			t.Errorf("group %s has no words", g)
		}
	}
}

func TestNoTextStandsInCode(t *testing.T) {
	for n, line := range strings.Split(source(t), "\n") {
		code, _, _ := strings.Cut(line, "//")
		if hanzi.MatchString(code) && !strings.Contains(code, "'中文'") && !strings.HasPrefix(strings.TrimSpace(code), "*") {
			t.Errorf("line %d of the sources has text in it: %s", n+1, strings.TrimSpace(line))
		}
	}
}

// TestStatesHaveWords holds the words to what the server says.
func TestStatesHaveWords(t *testing.T) {
	zh := readWords(t, "zh-CN")
	need := func(group string, values ...string) {
		t.Helper()
		for _, v := range values {
			if _, ok := zh[group+"."+v]; !ok {
				t.Errorf("%s.%s has no words", group, v)
			}
		}
	}
	need("status", texts(dispatch.Statuses())...)
	need("assignment", texts(assign.Statuses())...)
	need("offer", texts(assign.OfferStatuses())...)
	need("outcome", dispatch.Outcomes...)
	need("callback_outcome", callcenter.Outcomes...)
	need("call_state", texts(callcenter.CallStates())...)
	need("task", dispatch.TaskUnanswered, dispatch.TaskNoResponder, dispatch.TaskUnknown, dispatch.TaskLate, dispatch.TaskReview, dispatch.TaskWrapUp, dispatch.TaskDevice)
	need("kind", texts([]care.Kind{care.KindSOS, care.KindFall, care.KindDuress, care.KindMedical, care.KindSmoke, care.KindFire, care.KindHeat, care.KindGas, care.KindCO, care.KindUnspecified,
		care.KindWander, care.KindGeofenceExit, care.KindInactivity, care.KindBedExit, care.KindVital, care.KindWater, care.KindCollision, care.KindIntruder, care.KindAssist, care.KindDeviceOff,
		care.KindBattery, care.KindMains, care.KindRemoved, care.KindTamper, care.KindPowerOff, care.KindLinkLost, care.KindFault, care.KindSimChanged, care.KindMedication, care.KindDoor, care.KindTest})...)
	need("verdict", texts([]assign.Verdict{assign.Picked, assign.Slower, assign.NotSkilled, assign.CertExpired, assign.OffDuty, assign.Paused, assign.BusyElsewhere, assign.HeldElsewhere,
		assign.Blacklisted, assign.ProviderSuspended, assign.RefusedRecently, assign.SentAlready, assign.OutOfRange, assign.NotChosen})...)
	need("event", texts([]event.Type{dispatch.OpenedEvent, dispatch.JoinedEvent, dispatch.RingingEvent, dispatch.AnsweredEvent, dispatch.EscalatedEvent, dispatch.ClassifiedEvent, dispatch.NotedEvent,
		dispatch.DispatchedEvent, dispatch.AttendingEvent, dispatch.ResolvedEvent, dispatch.ClosedEvent, dispatch.ReopenedEvent, dispatch.MergedEvent, dispatch.CallEvent,
		dispatch.TaskOpened, dispatch.TaskTaken, dispatch.TaskDone, dispatch.AlarmReceived,
		assign.OfferSentEvent, assign.OfferSeenEvent, assign.OfferDeclEvent, assign.OfferExpEvent, assign.OfferTakenEvent, assign.OfferVoidEvent, assign.OfferAccEvent,
		assign.RequestedEvent, assign.OfferedEvent, assign.AcceptedEvent, assign.EnRouteEvent, assign.OnSceneEvent, assign.TransportEvent, assign.DoneEvent, assign.CancelledEvent, assign.ReassignedEvent,
		assign.EscalatedEvent, assign.LateEvent,
		callcenter.CallReceived, callcenter.CallRequested, callcenter.CallMatched, callcenter.CallQueued, callcenter.CallOffered, callcenter.CallMissed, callcenter.CallAnswered,
		callcenter.CallDialled, callcenter.CallBridged, callcenter.CallHeld, callcenter.CallResumed, callcenter.CallTrouble, callcenter.CallLost, callcenter.CallEnded,
		callcenter.CallbackOpened, callcenter.CallbackDialled, callcenter.CallbackDone, callcenter.RecordingSaved, callcenter.RecordingFailed})...)
	need("refusal", care.ErrNotFound.Code, care.ErrInvalid.Code, care.ErrForbidden.Code, care.ErrTransition.Code, care.ErrTaken.Code, care.ErrBusy.Code, "key_reused", "expired")
}

func texts[T ~string](all []T) []string {
	var out []string
	for _, x := range all {
		out = append(out, string(x))
	}
	return out
}
