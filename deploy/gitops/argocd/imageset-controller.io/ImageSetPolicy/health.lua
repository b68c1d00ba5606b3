-- Whether an ImageSetPolicy has done what it asks for, in the words of Argo CD. It follows the conditions as kstatus does:
-- Ready, Reconciling and Stalled. Drift, adoption and a Degraded operator are conditions of their own and never change it. One thing
-- is stricter than kstatus: what only another commit can mend is Degraded, because a sync that waits lets no newer commit in.
local health = { status = "Progressing", message = "Waiting for the controller to look at the policy" }

local status = obj.status
if status == nil or status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function says(type)
  local condition = conditions[type]
  return condition ~= nil and condition.status == "True"
end

local function told(type)
  local condition = conditions[type]
  if condition == nil then
    return ""
  end
  if condition.message == nil or condition.message == "" then
    return condition.reason or ""
  end
  return condition.reason .. ": " .. condition.message
end

-- Nothing is written, whatever the rest says.
if obj.spec ~= nil and obj.spec.suspend then
  health.status = "Suspended"
  health.message = "spec.suspend is true: nothing is written but status"
  return health
end

if says("Reconciling") then
  health.message = told("Reconciling")
  return health
end

-- It takes a person to get on.
if says("Stalled") then
  health.status = "Degraded"
  health.message = told("Stalled")
  return health
end

if says("Ready") then
  health.status = "Healthy"
  health.message = told("Ready")
  return health
end

-- Reasons that end with another spec, another operator image or another set, and not with time, a registry or a Secret.
local takes_another_commit = {
  ExcludedImageRequired = true,
  FirstInstallAmbiguous = true,
  ForeignImageSetInvalid = true,
  InspectionDisabled = true,
  InspectionPlanned = true,
  LayoutInvalid = true,
  NodeCredentialsOnly = true,
  OperatorContainerNotFound = true,
  OperatorImageInvalid = true,
  PreReleaseMarker = true,
}

-- Not yet. All else is tried again by itself, also when what is missing has to be mended elsewhere. The message names it.
local ready = conditions.Ready
if ready ~= nil then
  health.message = told("Ready")
  if ready.status == "False" and takes_another_commit[ready.reason] then
    health.status = "Degraded"
  end
end
return health
