# shellcheck shell=sh
# Puts vmbatch's commands on the PATH of login shells.
# VTORQUE_DIR is what scripts written for vTorque look for.
VTORQUE_DIR='@VMBATCH@'
export VTORQUE_DIR
case ":$PATH:" in
    *":$VTORQUE_DIR/bin:"*) ;;
    *) PATH="$VTORQUE_DIR/bin:$PATH"; export PATH ;;
esac
