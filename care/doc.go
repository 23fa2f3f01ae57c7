// Package care holds the words that two or more rooms share: typed ids, elders and
// their contacts, devices, providers, responders, areas, alarms, priorities, errors;
// and the rules of the registry: validation, masks, search keys, import.
//
// What only one room speaks of stays in that room.
package care
