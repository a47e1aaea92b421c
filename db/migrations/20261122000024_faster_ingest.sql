-- migrate:up
-- Constraints that the last migrations added, validated by themselves: nobody waits for that.
set local role neurant_owner;

alter table public.messages validate constraint messages_delivery_check;
alter table public.hitl_sessions validate constraint hitl_sessions_reason_check;

reset role;
-- migrate:down
