package care

import (
	"regexp"
)

// Ability levels of GB/T 42195-2022.
const (
	Intact   = "intact"
	Mild     = "mild"
	Moderate = "moderate"
	Severe   = "severe"
	Complete = "complete" // wholly dependent
)

var abilityLevels = []string{Intact, Mild, Moderate, Severe, Complete}

// Assessment is what the level is worked out from: the sum of the 26 items (0 to
// 90, higher is better) and what makes it one level worse.
type Assessment struct {
	Score      int
	Diagnoses  []string // ICD-10 codes
	RiskEvents int      // falls, wandering, choking, self-harm within 30 days
	Coma       bool
}

var mental = regexp.MustCompile(`^F\d\d`)

// Level is the ability level. The score alone gives it; dementia, another mental
// disorder or two risk events make it one worse, once only.
func (a Assessment) Level() (string, error) {
	if a.Coma {
		return Complete, nil
	}
	if a.Score < 0 || a.Score > 90 {
		return "", Invalid("score", "%d is not within 0 to 90: is it of this scale?", a.Score)
	}
	i := 0
	for _, least := range []int{90, 66, 46, 30} {
		if a.Score < least {
			i++
		}
	}
	worse := a.RiskEvents >= 2
	for _, d := range a.Diagnoses {
		worse = worse || mental.MatchString(d)
	}
	if worse {
		i = min(i+1, len(abilityLevels)-1)
	}
	return abilityLevels[i], nil
}
