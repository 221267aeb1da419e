"""First contact: what ``edge-node setup`` asks (``answers``), how it tries each answer (``trials``), what it sets up (``service``)."""
