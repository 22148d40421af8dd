namespace forgetcli {}
