"""The evidence desk: what the custodian and the supervisor run on a PC. One library; a command line and a web page
over it."""
