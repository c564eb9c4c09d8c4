"""Train a super-resolver: python train.py model=elan_light data=div2k trainer.devices=4."""

from srlab.app.application import train as main

if __name__ == "__main__":
    main()
