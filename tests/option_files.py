"""Option files in the schemas of BasicSR, traiNNer-redux and KAIR, written for these tests."""

SWINIR_LIGHT = """
name: swinir_light_x2
model_type: SwinIRModel
scale: 2
num_gpu: 4
manual_seed: 7
datasets:
  train:
    name: DF2K
    type: PairedImageDataset
    dataroot_gt: [{root}/HR, {root}/HR2]
    dataroot_lq: [{root}/LR, {root}/LR2]
    filename_tmpl: '{{}}x2'
    io_backend: {{type: disk}}
    gt_size: 128
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 8
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
  val:
    name: Set5
    type: PairedImageDataset
    dataroot_gt: {root}/Set5/GTmod12
    dataroot_lq: {root}/Set5/LRbicx2
    io_backend: {{type: disk}}
  val_1:
    dataroot_gt: {root}/Set14/GTmod12
network_g:
  type: SwinIR
  upscale: 2
  in_chans: 3
  img_size: 64
  window_size: 8
  img_range: 1.
  depths: [6, 6, 6, 6]
  embed_dim: 60
  num_heads: [6, 6, 6, 6]
  mlp_ratio: 2
  upsampler: 'pixelshuffledirect'
  resi_connection: '1conv'
path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: 2e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [250000, 400000], gamma: 0.5}}
  total_iter: 500000
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: 1.0, reduction: mean}}
  perceptual_opt: {{type: PerceptualLoss, perceptual_weight: 1.0}}
val:
  val_freq: 5e3
  save_img: false
  metrics:
    psnr: {{type: calculate_psnr, crop_border: 2, test_y_channel: true}}
logger:
  print_freq: 100
  save_checkpoint_freq: 5e3
  use_tb_logger: true
  wandb: {{project: ~, resume_id: ~}}
dist_params: {{backend: nccl, port: 29500}}
"""

ESC = """
name: esc_x4
scale: 4
num_gpu: 4
datasets:
  train:
    dataroot_gt: {root}/HR
    dataroot_lq: {root}/LR
    filename_tmpl: '{{}}x4'
    gt_size: 256
    batch_size_per_gpu: 16
network_g:
  type: ESC
  dim: 64
  pdim: 16
  kernel_size: 13
  n_blocks: 5
  conv_blocks: 5
  window_size: 32
  num_heads: 4
  upscaling_factor: 4
  exp_ratio: 1.25
  attn_type: Flex
path:
  pretrain_network_g: {root}/esc_x2.pth
  strict_load_g: false
train:
  ema_decay: 0.999
  optim_g: {{type: AdamW, lr: !!float 5e-4, weight_decay: 0, betas: [0.9, 0.9]}}
  scheduler: {{type: MultiStepLR, milestones: [250000, 400000, 450000, 475000, 490000], gamma: 0.5}}
  total_iter: 500000
  warmup_iter: 20000
  pixel_opt: {{type: L1Loss}}
val: {{val_freq: !!float 5e3}}
"""

REDUX = """
name: 2x_SwinIR_S
scale: 2
use_amp: true
amp_bf16: true
fast_matmul: true
num_gpu: auto
datasets:
  train:
    type: pairedimagedataset
    dataroot_gt: [{root}/HR]
    dataroot_lq: [{root}/LR]
    lq_size: 8
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 0
    batch_size_per_gpu: 2
    accum_iter: 2
network_g: {{type: swinir_s}}
path:
  pretrain_network_g: ~
train:
  ema_decay: 0.999
  grad_clip: true
  optim_g: {{type: AdamW, lr: !!float 1e-3, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [60000], gamma: 0.5}}
  total_iter: 100000
  warmup_iter: -1
  losses:
    - {{type: charbonnierloss, loss_weight: 1.0}}
    - {{type: ldlloss, loss_weight: 0.5}}
val:
  val_enabled: true
  val_freq: 3000
  tile_size: 0
logger: {{print_freq: 100, use_tb_logger: false}}
"""

KAIR = """
{{
  "task": "swinir_sr_lightweight_x2" // a name
  , "model": "plain"
  , "gpu_ids": [0,1]
  , "scale": 2
  , "n_channels": 3
  , "path": {{"root": "superresolution", "pretrained_netG": null, "pretrained_netE": null}}
  , "datasets": {{
    "train": {{"name": "train", "dataset_type": "sr", "dataroot_H": "{root}//HR", "dataroot_L": null
      , "H_size": 128, "dataloader_shuffle": true, "dataloader_num_workers": 16, "dataloader_batch_size": 64}}
    , "test": {{"name": "test", "dataset_type": "sr", "dataroot_H": "{root}/valid", "dataroot_L": null}}
  }}
  , "netG": {{"net_type": "swinir", "upscale": 2, "in_chans": 3, "img_size": 64, "window_size": 8
    , "img_range": 1.0, "depths": [6, 6, 6, 6], "embed_dim": 60, "num_heads": [6, 6, 6, 6], "mlp_ratio": 2
    , "upsampler": "pixelshuffledirect", "resi_connection": "1conv", "init_type": "default"}}
  , "train": {{"G_lossfn_type": "l1", "G_lossfn_weight": 1.0, "E_decay": 0.999
    , "G_optimizer_type": "adam", "G_optimizer_lr": 2e-4, "G_optimizer_wd": 0, "G_optimizer_clipgrad": null
    , "G_optimizer_reuse": true, "G_scheduler_type": "MultiStepLR"
    , "G_scheduler_milestones": [250000, 400000, 450000, 475000, 500000], "G_scheduler_gamma": 0.5
    , "G_param_strict": true, "E_param_strict": true
    , "checkpoint_test": 5000, "checkpoint_save": 5000, "checkpoint_print": 200}}
}}
"""
