import time, torch, sys
torch.set_num_threads(1)
import srlab
from srlab.data import datasets
from srlab.data.degradation import BicubicDegradation
import os
root=os.environ['SRLAB_DATA']
data = datasets.folder(root=[root+'/train/T91', root+'/train/BSDS500_train'], validation_root=None, scale=2, patch_size=int(sys.argv[1]), batch_size=8, num_workers=0, seed=0, degradation=BicubicDegradation(), degrade_on='worker', augment=True, on_bad_image='skip', cache=os.environ['SRLAB_CACHE'], scale_range=(1,4), compared_pixels=int(sys.argv[1])**2)
c=data.training_crops
p=time.process_time
t=p()
bs=[c.batch(range(8*i,8*i+8)) for i in range(10)]
print('batch ms', (p()-t)*100)
kw=dict(dim=int(sys.argv[2]), mixed_dim=8, depth=2, steps_per_block=2, window_size=16, num_heads=2, query_dim=int(sys.argv[3]), kernel_side=int(sys.argv[4]))
net=srlab.create_model('esc_lte', scale=2, **kw).train()
print(sum(q.numel() for q in net.parameters()))
for b in bs:
    t=p()
    sr=net.sample(b['lr_image'].float()/255, b['size'], b['pixels'])
    f=p()
    (sr-b['hr_image']/255).abs().mean().backward()
    print(b['size'], round(f-t,3), round(p()-f,3))
