"""The survey as code: attacks to try on the guard, and the measures to judge it by."""
