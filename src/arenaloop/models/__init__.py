"""Who answers: servers, local weights, files and functions."""
