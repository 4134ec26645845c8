"""Why a trial ended as it did: derived from the study, by the scheduler's own arithmetic."""
