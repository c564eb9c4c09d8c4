import numpy as np, torch
from fractions import Fraction
from srlab.data.bicubic_window import context, downsample_window, downsample
from srlab.ops.resize import imresize
r=np.random.default_rng(0)
bad=0; tot=0
for p in (7,12,32,64):
    for Q in sorted({int(p*s+.5) for s in np.linspace(1,4,23)}):
        s=Fraction(Q,p); m=context(s)
        n=3
        img=r.integers(0,256,(3,n*Q,n*Q)).astype(np.uint8)
        whole=imresize(torch.from_numpy(img),size=(n*p,n*p),mode='uint8').numpy()
        pad=np.pad(img,((0,0),(m,m),(m,m)),mode='symmetric')
        for i in range(n):
            for j in range(n):
                w=pad[:, i*Q:i*Q+Q+2*m, j*Q:j*Q+Q+2*m]
                d=downsample_window(w,s)
                e=whole[:, i*p:(i+1)*p, j*p:(j+1)*p]
                tot+=d.size; bad+=(d!=e).sum()
                assert abs(d.astype(int)-e).max()<=1
print(bad,tot)
for p in range(1,80):
    for Q in range(p,4*p+1):
        s=Fraction(Q,p); m=context(s)
        downsample_window(np.zeros((1,Q+2*m,1+0*m+2*m if False else Q+2*m),np.uint8)[:, :, :], s) if Q<40 else None
        from srlab.ops.resize import resize_taps
        w,t=resize_taps(p,p/Q,True); assert t.min()>=-m and t.max()<Q+m,(p,Q)
