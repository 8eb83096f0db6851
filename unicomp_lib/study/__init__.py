"""From a profile to finished steps: parameters, the plan, identity, scheduling, records, publication."""
