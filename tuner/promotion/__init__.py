"""From a search's winner to the registered model: trained again, measured once on test, compared, registered."""
