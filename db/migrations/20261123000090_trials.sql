-- migrate:up
-- A company tries a paid plan once, before it pays for one.
set local role neurant_owner;

alter table public.companies add column trial_started_at timestamptz;
comment on column public.companies.trial_started_at is 'Once: whoever has tried a plan pays for the next.';
select private.audit_column('public.companies', 'trial_started_at', 'shown');
grant update (trial_started_at, subscription_started_at) on public.companies to neurant_router;

create function private.start_trial(
  p_plan public.subscription_plan_enum, p_days integer, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_plan public.plans;
begin
  if p_days not between 1 and 30 then
    raise exception 'a trial lasts 1 to 30 days' using errcode = 'check_violation';
  end if;
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  select p.* into v_plan from public.plans p where p.plan = p_plan;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  elsif v_company.trial_started_at is not null then
    return 'tried_before';
  elsif v_plan.monthly_price_usd is null then
    return 'not_for_sale';
  elsif v_company.subscription_plan <> 'free' or p_plan = 'free' then
    return 'nothing_to_try';
  end if;
  perform private.apply_plan(v_company.id, p_plan);
  update public.companies c
  set subscription_status = 'trialing', trial_started_at = p_now, subscription_started_at = p_now,
    subscription_ends_at = p_now + p_days * interval '1 day'
  where c.id = v_company.id;
  return 'started';
end $$;
comment on function private.start_trial(public.subscription_plan_enum, integer, timestamptz) is
  'The owner of a company on the free plan tries another: started, tried_before, nothing_to_try (it is on a paid plan, or free is asked for), not_for_sale, closed or forbidden. What ends it: end_subscriptions(). Definer, as change_plan.';
grant execute on function
  private.start_trial(public.subscription_plan_enum, integer, timestamptz) to authenticated;
alter function private.start_trial(public.subscription_plan_enum, integer, timestamptz)
  owner to neurant_router;

reset role;
update public.companies set trial_started_at = coalesce(subscription_started_at, created_at)
where subscription_status = 'trialing';
-- migrate:down
