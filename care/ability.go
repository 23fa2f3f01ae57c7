package care

// Ability levels of GB/T 42195-2022.
const (
	Intact   = "intact"
	Mild     = "mild"
	Moderate = "moderate"
	Severe   = "severe"
	Complete = "complete" // wholly dependent
)

var abilityLevels = []string{Intact, Mild, Moderate, Severe, Complete}
